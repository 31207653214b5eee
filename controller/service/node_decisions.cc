#include "controller/service/node_decisions.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "policy/convert.h"

namespace penstock::controller {
namespace {

constexpr std::size_t kTextMax = 1000;
constexpr std::size_t kWordMax = 40;
constexpr int kNumbersMax = 64;

constexpr std::array<std::string_view, 8> kActions{"test",  "rate", "limit",     "shed",
                                                   "admit", "trip", "half_open", "close"};
constexpr std::array<std::string_view, 8> kVerdicts{"none", "theirs",       "ours", "full",
                                                    "dead", "unidentified", "cpu",  "memory"};
constexpr const char* kOther = "other";

template <class Words>
std::string one_of(const Words& words, const std::string& text) {
  return std::ranges::find(words, text) != words.end() ? text : kOther;
}

// A pool or an upstream of the policy.
std::string name_of(const std::string& kind, const std::string& name, const v1::Policy* policy) {
  if (policy == nullptr) return kOther;
  const auto named = [&](const auto& of) { return of.name() == name; };
  const auto& spec = policy->spec();
  const bool known = kind == "pool" ? name == "default" || std::ranges::any_of(spec.pools(), named)
                                    : std::ranges::any_of(spec.upstreams(), named);
  return known ? name : kOther;
}

const char* action_of(v1::BreakerState state) {
  switch (state) {
    case v1::BREAKER_STATE_OPEN:
      return "trip";
    case v1::BREAKER_STATE_HALF_OPEN:
      return "half_open";
    default:
      return "close";
  }
}

std::string word(const std::string& text) {
  const bool good = !text.empty() && text.size() <= kWordMax &&
                    std::ranges::all_of(text, [](unsigned char c) { return absl::ascii_isalpha(c) || c == '_'; });
  return good ? text : kOther;
}

// Cut where a character begins: it has to stay UTF-8.
std::string shortened(const std::string& text, std::size_t most) {
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

v1::Decision to_decision(const NodeId& node, const v1::Policy* policy, const v1::BreakerTransition& transition,
                         const v1::Counters& counters) {
  v1::Decision decision;
  decision.set_kind("upstream");
  decision.set_name(name_of("upstream", transition.upstream(), policy));
  decision.set_service(node.service);
  decision.set_node(node.node);
  decision.set_action(action_of(transition.to()));
  const std::string& reason = transition.reason();
  const std::size_t split = reason.find(": ");
  decision.set_reason(split == std::string::npos ? "breaker" : word(reason.substr(0, split)));
  decision.set_message(shortened(split == std::string::npos ? reason : reason.substr(split + 2), kTextMax));
  if (transition.has_time()) *decision.mutable_time() = transition.time();
  if (decision.reason() == "usefulness" && transition.to() == v1::BREAKER_STATE_OPEN)
    decision.set_verdict("unidentified");
  decision.set_would_change(transition.to() == v1::BREAKER_STATE_CLOSED
                                ? "calls that can no longer succeed before their deadline, or a rule of the policy"
                                : "probes that succeed before their deadline");
  auto& evidence = *decision.mutable_evidence()->mutable_fields();
  evidence["from"].set_string_value(v1::BreakerState_Name(transition.from()));
  evidence["to"].set_string_value(v1::BreakerState_Name(transition.to()));
  for (const auto& upstream : counters.upstreams()) {
    if (upstream.upstream() != transition.upstream()) continue;
    if (upstream.has_usefulness()) evidence["usefulness"].set_number_value(upstream.usefulness());
    evidence["in_flight"].set_number_value(upstream.in_flight());
    evidence["oldest_seconds"].set_number_value(decision::seconds(policy::to_chrono(upstream.oldest())));
  }
  return decision;
}

v1::Decision to_decision(const NodeId& node, const v1::Policy* policy, const v1::Policy* shadow,
                         const v1::NodeDecision& taken) {
  v1::Decision decision;
  const bool of_shadow = shadow != nullptr && taken.policy() == shadow->metadata().name();
  if (of_shadow) {
    policy = shadow;
    decision.set_policy(taken.policy());
  }
  decision.set_kind(taken.kind() == "upstream" || taken.kind() == "pool" ? taken.kind() : "node");
  decision.set_name(decision.kind() == "node" ? node.node : name_of(decision.kind(), taken.name(), policy));
  decision.set_service(node.service);
  decision.set_node(node.node);
  decision.set_action(one_of(kActions, taken.action()));
  decision.set_reason(word(taken.reason()));
  if (!taken.verdict().empty()) decision.set_verdict(one_of(kVerdicts, taken.verdict()));
  if (taken.has_confidence()) decision.set_confidence(std::clamp(taken.confidence(), 0.0, 1.0));
  decision.set_message(shortened(taken.message(), kTextMax));
  decision.set_formula(shortened(taken.formula(), kTextMax));
  decision.set_would_change(shortened(taken.would_change(), kTextMax));
  decision.set_shadow(taken.shadow() || of_shadow || !taken.policy().empty());
  if (taken.has_time()) *decision.mutable_time() = taken.time();
  int numbers = 0;
  for (const auto& [name, value] : taken.evidence().fields()) {
    if (++numbers > kNumbersMax) break;
    auto& kept = (*decision.mutable_evidence()->mutable_fields())[shortened(name, kWordMax)];
    if (value.has_number_value()) {
      kept.set_number_value(value.number_value());
    } else {
      kept.set_string_value(shortened(value.string_value(), kTextMax));
    }
  }
  return decision;
}

}  // namespace penstock::controller
