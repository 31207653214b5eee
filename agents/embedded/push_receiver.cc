#include "agents/embedded/push_receiver.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "policy/convert.h"

namespace penstock::agent {

namespace {

using decision::Instant;
using errors::Error;
using errors::Reason;

constexpr std::chrono::seconds kTtlMin{1};
constexpr std::chrono::minutes kTtlMax{10};
constexpr std::chrono::milliseconds kCountersPeriodMin{50};
constexpr std::chrono::seconds kCountersPeriodMax{10};
constexpr std::chrono::hours kLongestLatency{1};
constexpr std::string_view kDefaultPool = "default";

Error directive_invalid(std::vector<errors::Violation> violations) {
  Error error{.reason = Reason::directive_invalid};
  error.message = absl::StrCat(violations.front().field, ": ", violations.front().message);
  error.violations = std::move(violations);
  return error;
}

bool withdraws_policy(const v1::Push& push) { return push.has_policy() && !push.policy().has_spec(); }

template <class List>
bool names(const List& list, std::string_view name) {
  for (const auto& element : list) {
    if (element.name == name) return true;
  }
  return false;
}

}  // namespace

PushReceiver::PushReceiver(Runtime& runtime, decision::Policy local)
    : runtime_(runtime), local_(std::move(local)), policy_(local_) {}

void PushReceiver::open_stream() {
  nonces_.clear();
  older_nonces_.clear();
}

decision::Duration PushReceiver::lease_left(Instant now) const {
  if (!lease_end_ || *lease_end_ <= now) return {};
  return *lease_end_ - now;
}

v1::Ack PushReceiver::receive(const v1::Push& push, Instant now) {
  v1::Ack ack;
  ack.set_version(push.version());
  ack.set_nonce(push.nonce());

  std::optional<decision::Policy> policy;
  std::optional<Error> error = judge(push, policy);
  if (!error && policy) {
    try {
      runtime_.apply_policy(*policy);
    } catch (const std::invalid_argument& unusable) {
      error = Error{.reason = Reason::policy_invalid, .message = unusable.what()};
    }
  }
  if (error) {
    ++refused_;
    refusal_ = std::string(errors::row(error->reason).name);
    *ack.mutable_error() = errors::to_rpc(*error);
    return ack;
  }

  if (policy) {
    policy_ = *std::move(policy);
    std::erase_if(breakers_, [&](const auto& entry) { return !names(policy_.upstreams, entry.first); });
    revision_ = withdraws_policy(push) ? 0 : push.policy().metadata().revision();
  }
  epoch_ = push.epoch();
  version_ = push.version();
  carry_out(push);
  lease_end_ = now + policy::to_chrono(push.ttl());
  ++taken_;
  refusal_.clear();
  return ack;
}

std::optional<Error> PushReceiver::judge(const v1::Push& push, std::optional<decision::Policy>& policy) {
  if (push.nonce().empty()) return directive_invalid({{"nonce", "is missing"}});
  if (older_nonces_.contains(push.nonce()) || !nonces_.insert(push.nonce()).second) {
    return Error{.reason = Reason::nonce_replayed,
                 .message = "the nonce was used before on this stream",
                 .metadata = {{"nonce", push.nonce()}}};
  }
  if (nonces_.size() >= kNonces) older_nonces_ = std::exchange(nonces_, {});

  if (push.epoch() == 0) return directive_invalid({{"epoch", "is missing"}});
  if (push.epoch() < epoch_) {
    return Error{.reason = Reason::epoch_stale,
                 .message = absl::StrCat("epoch ", push.epoch(), " is older than ", epoch_),
                 .metadata = {{"epoch", absl::StrCat(push.epoch())}, {"seen", absl::StrCat(epoch_)}}};
  }
  if (push.epoch() == epoch_ && push.version() < version_) {
    return Error{.reason = Reason::version_stale,
                 .message = absl::StrCat("version ", push.version(), " is older than ", version_),
                 .metadata = {{"version", absl::StrCat(push.version())}, {"applied", absl::StrCat(version_)}}};
  }
  const auto ttl = push.has_ttl() ? policy::to_chrono(push.ttl()) : std::chrono::nanoseconds{0};
  if (ttl < kTtlMin || ttl > kTtlMax) {
    return directive_invalid({{"ttl", push.has_ttl() ? "must be between 1s and 10m" : "is missing"}});
  }

  if (withdraws_policy(push)) {
    policy = local_;
  } else if (push.has_policy()) {
    const auto& metadata = push.policy().metadata();
    if (push.epoch() == epoch_ && metadata.name() == policy_.name && metadata.revision() < revision_) {
      return Error{
          .reason = Reason::version_stale,
          .message = absl::StrCat("revision ", metadata.revision(), " of the policy is older than ", revision_),
          .metadata = {{"revision", absl::StrCat(metadata.revision())}, {"applied", absl::StrCat(revision_)}}};
    }
    auto converted = policy::to_decision(push.policy());
    if (!converted.ok()) {
      return errors::from_absl(converted.status())
          .value_or(Error{.reason = Reason::policy_invalid, .message = std::string(converted.status().message())});
    }
    if (converted->service != runtime_.options().service) {
      return errors::policy_invalid(
          {{"spec.service",
            absl::StrCat("governs ", converted->service, ", but this node is of ", runtime_.options().service)}});
    }
    policy = *std::move(converted);
  }
  return judge_directives(push, policy ? *policy : policy_);
}

std::optional<Error> PushReceiver::judge_directives(const v1::Push& push, const decision::Policy& policy) const {
  std::vector<errors::Violation> violations;
  if (push.has_counters_period()) {
    const decision::Duration period = policy::to_chrono(push.counters_period());
    if (period != decision::Duration::zero() && (period < kCountersPeriodMin || period > kCountersPeriodMax)) {
      violations.push_back({"counters_period", "must be 0s or between 50ms and 10s"});
    }
  }
  for (int i = 0; i < push.pools_size(); ++i) {
    const auto& directive = push.pools(i);
    const std::string field = absl::StrCat("pools[", i, "]");
    if (directive.pool() != kDefaultPool && !names(policy.pools, directive.pool())) {
      violations.push_back({field + ".pool", absl::StrCat("the policy has no pool \"", directive.pool(), "\"")});
    }
    if (directive.limit() < 1) violations.push_back({field + ".limit", "must be at least 1"});
  }
  for (int i = 0; i < push.upstreams_size(); ++i) {
    const auto& directive = push.upstreams(i);
    const std::string field = absl::StrCat("upstreams[", i, "]");
    if (!names(policy.upstreams, directive.upstream())) {
      violations.push_back(
          {field + ".upstream", absl::StrCat("the policy has no upstream \"", directive.upstream(), "\"")});
    }
    if (directive.has_limit() && directive.limit() < 1) {
      violations.push_back({field + ".limit", "must be at least 1"});
    }
    if (directive.has_expected_latency()) {
      const decision::Duration latency = policy::to_chrono(directive.expected_latency());
      if (latency <= decision::Duration::zero() || latency > kLongestLatency) {
        violations.push_back({field + ".expected_latency", "must be more than 0s and at most 1h"});
      }
    }
    if (!v1::BreakerOverride_IsValid(directive.breaker())) {
      violations.push_back({field + ".breaker", "is not known to this version"});
    }
  }
  if (violations.empty()) return std::nullopt;
  return directive_invalid(std::move(violations));
}

// What only watches refuses no push.
void PushReceiver::watch(const v1::Policy& shadow) {
  if (!shadow.has_spec()) return runtime_.apply_shadow(std::nullopt);
  const auto converted = policy::to_decision(shadow);
  try {
    if (!converted.ok()) throw std::invalid_argument(std::string(converted.status().message()));
    runtime_.apply_shadow(*converted);
  } catch (const std::invalid_argument& unusable) {
    spdlog::warn("policy {} in SHADOW is not watched by: {}", shadow.metadata().name(), unusable.what());
    runtime_.apply_shadow(std::nullopt);
  }
}

void PushReceiver::carry_out(const v1::Push& push) {
  if (push.has_shadow_policy()) watch(push.shadow_policy());
  for (const auto& directive : push.pools()) runtime_.set_pool_limit(directive.pool(), directive.limit());
  for (const auto& directive : push.upstreams()) carry_out(directive);
  if (push.has_drain()) runtime_.set_draining(push.drain());
  if (push.has_counters_period()) {
    counters_period_ = policy::to_chrono(push.counters_period());
    if (*counters_period_ == decision::Duration::zero()) counters_period_.reset();
  }
}

void PushReceiver::carry_out(const v1::UpstreamDirective& directive) {
  const std::string& upstream = directive.upstream();
  std::optional<int> limit;
  if (directive.has_limit()) limit = directive.limit();
  runtime_.set_upstream_limit(upstream, limit, directive.tight(), directive.fleet_leads());

  runtime_.expect_latency(upstream, directive.has_expected_latency() ? policy::to_chrono(directive.expected_latency())
                                                                     : decision::Duration::zero());

  v1::BreakerOverride& in_force = breakers_.try_emplace(upstream, v1::BREAKER_OVERRIDE_AUTO).first->second;
  v1::BreakerOverride wanted = directive.breaker();
  if (wanted == v1::BREAKER_OVERRIDE_UNSPECIFIED) wanted = v1::BREAKER_OVERRIDE_AUTO;
  if (wanted == in_force) return;
  const bool forced = in_force == v1::BREAKER_OVERRIDE_FORCE_OPEN || in_force == v1::BREAKER_OVERRIDE_FORCE_CLOSED;
  switch (wanted) {
    case v1::BREAKER_OVERRIDE_FORCE_OPEN:
      runtime_.set_breaker(upstream, decision::BreakerForce::open, directive.reason());
      break;
    case v1::BREAKER_OVERRIDE_FORCE_CLOSED:
      runtime_.set_breaker(upstream, decision::BreakerForce::closed, directive.reason());
      break;
    case v1::BREAKER_OVERRIDE_TRIP:
      if (forced) runtime_.set_breaker(upstream, decision::BreakerForce::automatic, directive.reason());
      runtime_.trip_breaker(upstream, directive.reason());
      break;
    default:
      if (forced) runtime_.set_breaker(upstream, decision::BreakerForce::automatic, directive.reason());
      break;
  }
  in_force = wanted;
}

bool PushReceiver::expire(Instant now) {
  if (!lease_end_ || now < *lease_end_) return false;
  lease_end_.reset();
  breakers_.clear();
  counters_period_.reset();
  runtime_.release_lease();
  return true;
}

}  // namespace penstock::agent
