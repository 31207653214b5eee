#include "cli/decisions_diff.h"

#include <tuple>

namespace penstock::cli {
namespace {

std::string number(double value) {
  std::string text = std::to_string(static_cast<long long>(value));
  return text;
}

// What stands of a breaker about which nothing was decided.
constexpr const char* kUntouched = "breaker close";

// Empty: it says nothing that two policies could disagree about.
std::string value_of(const v1::Decision& decision) {
  const auto& fields = decision.evidence().fields();
  if (decision.kind() == "pool" && (decision.action() == "resize" || decision.action() == "hold")) {
    const auto result = fields.find("result");
    return result == fields.end() ? "" : "limit " + number(result->second.number_value());
  }
  if (decision.kind() != "upstream") return "";
  if (decision.action() == "test") {
    const auto limit = fields.find("limit");
    return decision.reason() + (decision.verdict().empty() ? "" : " " + decision.verdict()) +
           (limit == fields.end() ? "" : " limit " + number(limit->second.number_value()));
  }
  if (decision.action() == "trip" || decision.action() == "half_open" || decision.action() == "close")
    return "breaker " + decision.action();
  return "";
}

}  // namespace

std::vector<Disagreement> disagreements(const std::vector<v1::Decision>& decisions, int& compared) {
  using Key = std::tuple<std::string, std::string, std::string, std::string, bool>;
  std::map<Key, Disagreement> all;
  std::map<Key, bool> differing;
  for (const v1::Decision& decision : decisions) {
    const std::string value = value_of(decision);
    if (value.empty()) continue;
    // A breaker and a test of one upstream are two things.
    const Key key{decision.kind(), decision.name(), decision.service(), decision.node(), value.starts_with("breaker ")};
    Disagreement& of = all[key];
    of.kind = decision.kind();
    of.name = decision.name();
    of.service = decision.service();
    of.node = decision.node();
    (decision.shadow() ? of.shadow : of.acting) = Stand{value, decision.message(), decision.policy(), decision.time()};
    const bool differ = !of.shadow || (of.acting ? of.acting->value : kUntouched) != of.shadow->value;
    bool& before = differing[key];
    if (differ && !before) of.since = decision.time();
    before = differ;
  }
  compared = static_cast<int>(all.size());
  std::vector<Disagreement> result;
  for (auto& [key, of] : all)
    // What only the acting policy decides is no disagreement: nobody watches it.
    if (differing[key] && of.shadow) result.push_back(std::move(of));
  return result;
}

}  // namespace penstock::cli
