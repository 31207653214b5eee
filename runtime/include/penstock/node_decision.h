#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace penstock {

// Something that a node decided by itself, and what that rests on. Each is one line of JSON in the log, and is streamed
// to the controller.
struct NodeDecision {
  // "upstream", "pool" or "node", and its name; empty for "node".
  std::string kind;
  std::string name;
  // What was done, one word:
  //   "test"   a step of the test for the cause of slowness; `reason` is the state that it went to
  //   "rate"   an upstream refuses calls and the rate that it bears is obeyed ("obeyed"), or no longer ("released")
  //   "limit"  memory bounds the calls to an upstream ("bulkhead"), or no longer ("released")
  //   "shed"   requests are held or refused at the node's door ("cpu", "memory")
  //   "admit"  no longer
  // Changes of a breaker's state ("trip", "half_open", "close") are logged in this form, and streamed apart.
  std::string action;
  std::string reason;
  // Whose fault it is: none, theirs, ours, full, dead, unidentified; "cpu" or "memory" for a guard. Empty: not judged.
  std::string verdict;
  // In [0,1]: how sure that is.
  std::optional<double> confidence;
  // A sentence with its numbers, the formula with its numbers, and what would change it.
  std::string message;
  std::string formula;
  std::string would_change;
  // Seconds, calls, calls a second, ratios, by name.
  std::vector<std::pair<std::string, double>> evidence;
  std::chrono::system_clock::time_point time = std::chrono::system_clock::now();
  // Nothing was actuated: the policy is in SHADOW, or it says observe.
  bool shadow = false;
  // Of a policy in SHADOW beside the one in force: its name. Empty: the one in force.
  std::string policy;
};

// As one line, with the fields of the controller's log: {"time": RFC 3339, "event": "decision", "kind", "name",
// "action", "reason", "verdict", "confidence", "message", "formula", "would_change", "evidence": {...}, "shadow",
// "policy"}. What is empty is left out.
std::string to_json(const NodeDecision& decision);

}  // namespace penstock
