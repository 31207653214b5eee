#include "controller/service/node_session.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "controller/service/node_decisions.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

using errors::Reason;
using google::protobuf::util::MessageDifferencer;

constexpr std::size_t kNoncesRemembered = 256;
// A node that was heard of so recently is alive: counters come twice a second.
constexpr std::chrono::seconds kAlive{3};

absl::Status hello_invalid(std::string message) {
  return errors::to_absl({.reason = Reason::hello_invalid, .message = std::move(message)});
}

bool is_host_and_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  int port = 0;
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data() + colon + 1, end, port) != std::from_chars_result{end, std::errc{}}) return false;
  return port >= 1 && port <= 65535 && std::ranges::all_of(text.substr(0, colon), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
         });
}

std::string etag(const std::shared_ptr<const v1::Policy>& policy) {
  return policy == nullptr ? std::string() : policy->metadata().etag();
}

// The directives of `wanted` that `acked` does not have in the same form.
template <class Map, class List>
void add_changed(const Map& wanted, const Map* acked, List* out) {
  for (const auto& [name, directive] : wanted) {
    if (acked != nullptr)
      if (const auto found = acked->find(name);
          found != acked->end() && MessageDifferencer::Equals(found->second, directive))
        continue;
    *out->Add() = directive;
  }
}

}  // namespace

NodeSession::NodeSession(Context context, Caller caller, Fleet::Wake wake, Fleet::Wake replaced)
    : context_(context), caller_(std::move(caller)), wake_(std::move(wake)), replaced_(std::move(replaced)) {}

NodeSession::~NodeSession() { close("the stream ended"); }

absl::Status NodeSession::receive(v1::AgentMessage message) {
  if (!id_) {
    if (!message.has_hello()) return hello_invalid("the first message must be a hello");
    return join(message.hello());
  }
  switch (message.message_case()) {
    case v1::AgentMessage::kHello:
      return hello_invalid("a stream takes one hello only");
    case v1::AgentMessage::kAck:
      return acknowledge(message.ack());
    case v1::AgentMessage::kCounters:
      count(std::move(*message.mutable_counters()));
      return absl::OkStatus();
    case v1::AgentMessage::MESSAGE_NOT_SET:
      return errors::to_absl(errors::argument_invalid("message", "is empty or not known to this version"));
  }
  return absl::OkStatus();
}

absl::Status NodeSession::join(const v1::Hello& hello) {
  for (const auto& [field, value] :
       {std::pair<const char*, const std::string&>{"node", hello.node()}, {"service", hello.service()}})
    if (value.empty() || value.size() > 255)
      return hello_invalid(absl::StrCat("hello.", field, ": must have 1 to 255 characters"));
  if (hello.metrics_address().size() > 255) return hello_invalid("hello.metrics_address: at most 255 characters");
  // It becomes a target of Prometheus.
  if (!hello.metrics_address().empty() && !is_host_and_port(hello.metrics_address()))
    return hello_invalid("hello.metrics_address: must be host:port");
  if (auto status = caller_.may_join(hello.service(), hello.node()); !status.ok()) return status;
  const std::map<std::string, std::string> labels(hello.labels().begin(), hello.labels().end());
  if (context_.fleet.match(hello.service(), labels) == nullptr) {
    bool named = false;
    for (const auto& policy : context_.fleet.policies()) named |= policy->spec().service() == hello.service();
    return errors::to_absl({.reason = Reason::service_unknown,
                            .message = named ? absl::StrCat("no policy of service ", hello.service(),
                                                            " governs nodes with the labels of ", hello.node())
                                             : absl::StrCat("no policy governs service ", hello.service()),
                            .metadata = {{"service", hello.service()}, {"node", hello.node()}}});
  }
  const NodeId id{hello.service(), hello.node()};
  // A process that was never pushed to is not the one that is connected. Both would go on taking each other's place.
  if (const auto known = context_.fleet.node(id); known && known->connected && hello.applied_version() == 0)
    if (context_.clock.now() - std::max(known->latest.at, known->connected_since) < kAlive)
      return hello_invalid(absl::StrCat("another process is connected as node ", id.node, " of ", id.service,
                                        ": give each node a name of its own"));
  id_ = id;
  session_ = context_.fleet.connect(hello, wake_, replaced_);
  log("join", hello.applied_version() == 0 ? "started" : "reconnected",
      absl::StrCat("node ", hello.node(), " of ", hello.service(), " joined, runtime ", hello.version(), ", as ",
                   caller_.identity));
  return absl::OkStatus();
}

absl::Status NodeSession::acknowledge(const v1::Ack& ack) {
  if (std::ranges::find(answered_, ack.nonce()) != answered_.end())
    return errors::to_absl({.reason = Reason::nonce_replayed,
                            .message = "ack.nonce: this push was answered already",
                            .metadata = {{"nonce", ack.nonce()}}});
  if (!outstanding_ || ack.nonce() != outstanding_->nonce)
    return errors::to_absl(errors::argument_invalid("ack.nonce", "answers no push of this stream"));
  if (ack.version() != outstanding_->content.version)
    return errors::to_absl(errors::argument_invalid(
        "ack.version", absl::StrCat("is ", ack.version(), ", the push was ", outstanding_->content.version)));
  Outstanding push = *std::move(outstanding_);
  outstanding_.reset();
  if (answered_.size() >= kNoncesRemembered) answered_.pop_front();
  answered_.push_back(push.nonce);
  const auto now = context_.clock.now();

  if (ack.has_error()) {
    const bool carried_policy = !acked_ || etag(acked_->policy) != etag(push.content.policy);
    // What a refused renewal leaves in force is not known: begin again.
    if (push.renewal) acked_.reset();
    const auto error = errors::from_rpc(ack.error());
    const std::string reason(error ? errors::row(error->reason).name : "UNKNOWN");
    const std::string sentence = absl::StrCat(reason, ": ", ack.error().message());
    refused_ = Refused{carried_policy ? etag(push.content.policy) : "", sentence, now + kRefusalHold};
    context_.fleet.record_refusal(*id_, session_, sentence);
    log("refuse", reason, absl::StrCat("node ", id_->node, " refused version ", ack.version(), ": ", sentence));
    return absl::OkStatus();
  }

  if (!push.renewal && refused_ &&
      (refused_->etag.empty() || refused_->etag == etag(push.content.policy) ||
       refused_->etag != etag(context_.fleet.effective(*id_).policy)))
    refused_.reset();
  acked_ = push.content;
  withdrawn_ = push.content.policy == nullptr;
  context_.fleet.record_ack(*id_, session_, push.content, now + push.ttl);
  if (refused_) context_.fleet.record_refusal(*id_, session_, refused_->message);
  return absl::OkStatus();
}

void NodeSession::count(v1::Counters counters) {
  const v1::Policy* policy = acked_ ? acked_->policy.get() : nullptr;
  const v1::Policy* shadow = acked_ ? acked_->shadow.get() : nullptr;
  int logged = 0;
  for (const auto& transition : counters.transitions())
    if (++logged <= kDecisionsOfCounters) log(to_decision(*id_, policy, transition, counters));
  for (const auto& taken : counters.decisions())
    if (++logged <= kDecisionsOfCounters) log(to_decision(*id_, policy, shadow, taken));
  // The node's lease ended (it was paused, or its clock ran on): what was acknowledged is no longer in force.
  if (acked_ && !outstanding_ && policy::to_chrono(counters.lease()).count() <= 0) acked_.reset();
  context_.fleet.record_counters(*id_, session_, std::move(counters));
}

bool NodeSession::held(const Effective& wanted) const {
  if (!refused_ || context_.clock.now() >= refused_->until) return false;
  if (refused_->etag.empty()) return true;
  // The refused policy is held back; without it, directives can go on only where an older policy is in force.
  return etag(wanted.policy) == refused_->etag && (!acked_ || acked_->policy == nullptr);
}

void NodeSession::add_changes(const Effective& wanted, v1::Push& push) const {
  if (!acked_ || etag(acked_->policy) != etag(wanted.policy)) {
    if (wanted.policy != nullptr) {
      *push.mutable_policy() = *wanted.policy;
    } else {
      push.mutable_policy();
    }
  }
  if (!acked_ || etag(acked_->shadow) != etag(wanted.shadow)) {
    // An earlier stream may have left one behind.
    push.mutable_shadow_policy();
    if (wanted.shadow != nullptr) *push.mutable_shadow_policy() = *wanted.shadow;
  }
  add_changed(wanted.pools, acked_ ? &acked_->pools : nullptr, push.mutable_pools());
  add_changed(wanted.upstreams, acked_ ? &acked_->upstreams : nullptr, push.mutable_upstreams());
  if (!acked_ && wanted.policy != nullptr) {
    // A full push also takes back what an earlier stream may have imposed.
    for (const auto& upstream : wanted.policy->spec().upstreams()) {
      if (wanted.upstreams.contains(upstream.name())) continue;
      auto* directive = push.add_upstreams();
      directive->set_upstream(upstream.name());
      directive->set_breaker(v1::BREAKER_OVERRIDE_AUTO);
    }
  }
  if (!acked_ || acked_->drain != wanted.drain) push.set_drain(wanted.drain);
  if (acked_ ? acked_->counters_period != wanted.counters_period : wanted.counters_period.count() > 0)
    *push.mutable_counters_period() = policy::to_proto(wanted.counters_period);
}

decision::Duration NodeSession::ttl(const Effective& content) const {
  const bool limited = std::ranges::any_of(
      content.upstreams, [](const auto& entry) { return entry.second.fleet_leads() && entry.second.has_limit(); });
  return limited ? std::min<decision::Duration>(context_.ttl, kTestLease) : context_.ttl;
}

std::optional<v1::Push> NodeSession::next_push() {
  if (!id_ || outstanding_) return std::nullopt;
  const auto now = context_.clock.now();
  Effective wanted = context_.fleet.effective(*id_);
  const bool differs = !acked_ || acked_->version != wanted.version;
  const bool retry = refused_ && now >= refused_->until && acked_ && etag(acked_->policy) != etag(wanted.policy);
  const bool changed = (differs || retry) && !held(wanted);
  const bool renew = acked_ && now - last_push_ >= last_ttl_ / 3;
  if (!changed && !renew) return std::nullopt;

  v1::Push push;
  if (changed) {
    if (refused_ && now < refused_->until && etag(wanted.policy) == refused_->etag && acked_) {
      // Everything but the refused policy, as far as the one in force knows it.
      wanted.policy = acked_->policy;
      const auto& spec = wanted.policy->spec();
      std::erase_if(wanted.upstreams, [&](const auto& entry) {
        for (const auto& upstream : spec.upstreams())
          if (upstream.name() == entry.first) return false;
        return true;
      });
      std::erase_if(wanted.pools, [&](const auto& entry) {
        if (entry.first == "default") return false;
        for (const auto& pool : spec.pools())
          if (pool.name() == entry.first) return false;
        return true;
      });
    }
    add_changes(wanted, push);
  } else {
    wanted = *acked_;
  }
  push.set_version(wanted.version);
  push.set_nonce(absl::StrCat(++nonces_, "-", absl::Hex(context_.clock.random(), absl::kZeroPad16)));
  push.set_epoch(context_.epoch);
  last_ttl_ = ttl(wanted);
  *push.mutable_ttl() = policy::to_proto(last_ttl_);
  outstanding_ = Outstanding{push.nonce(), std::move(wanted), now, !changed, last_ttl_};
  last_push_ = now;
  return push;
}

absl::Status NodeSession::overdue() const {
  if (!id_) return absl::OkStatus();
  if (outstanding_ && context_.clock.now() - outstanding_->sent >= context_.ttl)
    return absl::DeadlineExceededError("the node did not answer a push within its ttl");
  if (withdrawn_ && !outstanding_ && context_.fleet.effective(*id_).policy == nullptr)
    return errors::to_absl({.reason = Reason::service_unknown,
                            .message = absl::StrCat("the policy of service ", id_->service, " was deleted"),
                            .metadata = {{"service", id_->service}, {"node", id_->node}}});
  return absl::OkStatus();
}

void NodeSession::close(const std::string& reason) {
  if (!id_ || session_ == 0) return;
  if (context_.fleet.disconnect(*id_, session_))
    log("leave", "disconnected", absl::StrCat("node ", id_->node, " of ", id_->service, " left: ", reason));
  session_ = 0;
}

void NodeSession::log(std::string action, std::string reason, std::string message) {
  v1::Decision decision;
  decision.set_kind("node");
  decision.set_name(id_->node);
  decision.set_service(id_->service);
  decision.set_node(id_->node);
  decision.set_action(std::move(action));
  decision.set_reason(std::move(reason));
  decision.set_message(std::move(message));
  log(std::move(decision));
}

void NodeSession::log(v1::Decision decision) {
  if (const auto policy = acked_ ? acked_->policy : nullptr; policy != nullptr && decision.policy().empty())
    decision.set_policy(policy->metadata().name());
  context_.log.append(std::move(decision));
}

}  // namespace penstock::controller
