#include "penstock/node_decision.h"

#include <spdlog/fmt/chrono.h>
#include <spdlog/fmt/fmt.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>

namespace penstock {

std::string to_json(const NodeDecision& decision) {
  boost::json::object object;
  object["time"] =
      fmt::format("{:%Y-%m-%dT%H:%M:%S}Z", std::chrono::time_point_cast<std::chrono::milliseconds>(decision.time));
  object["event"] = "decision";
  const auto add = [&](const char* key, const std::string& text) {
    if (!text.empty()) object[key] = text;
  };
  add("kind", decision.kind);
  add("name", decision.name);
  add("action", decision.action);
  add("reason", decision.reason);
  add("verdict", decision.verdict);
  if (decision.confidence) object["confidence"] = *decision.confidence;
  add("message", decision.message);
  add("formula", decision.formula);
  add("would_change", decision.would_change);
  if (!decision.evidence.empty()) {
    boost::json::object evidence;
    for (const auto& [name, value] : decision.evidence) evidence[name] = value;
    object["evidence"] = std::move(evidence);
  }
  if (decision.shadow) object["shadow"] = true;
  add("policy", decision.policy);
  return boost::json::serialize(object);
}

}  // namespace penstock
