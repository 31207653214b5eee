#include "controller/service/why_cause.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "policy/convert.h"

namespace penstock::controller {
namespace {

std::string seconds(const google::protobuf::Duration& duration) {
  return absl::StrFormat("%.3gs", decision::seconds(policy::to_chrono(duration)));
}

std::string verdict_words(const std::string& verdict) {
  if (verdict == "ours") return "slow because of the load that we put on it";
  if (verdict == "theirs") return "slow for reasons of its own";
  if (verdict == "full") return "full: it refuses calls, which is obeyed";
  if (verdict == "dead") return "as good as dead";
  if (verdict == "unidentified") return "slow, and the cause is not known yet";
  return "";
}

std::string state_words(const std::string& state) {
  if (state == "freeze") return "a test begins: calls in flight are held where they are";
  if (state == "cut") return "a test is under way: fewer calls at once";
  if (state == "search") return "the knee is looked for";
  if (state == "track") return "the limit follows the knee";
  return "no test is under way";
}

void add_if(const std::string& text, const char* what, v1::WhyResponse& response) {
  if (!text.empty()) response.add_steps(absl::StrCat("  ", what, text));
}

}  // namespace

std::string explain_cause(const v1::CauseView& cause, v1::WhyResponse& response) {
  response.add_steps(absl::StrCat(
      "fleet of ", cause.nodes(), " nodes",
      cause.services_size() > 1 ? absl::StrCat(" of ", absl::StrJoin(cause.services(), ", ")) : "", ": ",
      state_words(cause.state()), "; latency ", seconds(cause.latency()), ", usually ", seconds(cause.usual_latency()),
      absl::StrFormat("; %.1f answers/s, %.1f over the last seconds", cause.throughput(), cause.throughput_slow()),
      cause.has_limit() ? absl::StrCat("; limit ", cause.limit(), " of all nodes together") : "",
      cause.leads() ? "" : "; each node judges by itself"));
  add_if(cause.message(), "", response);
  add_if(cause.formula(), "because ", response);
  if (!cause.would_change().empty()) response.add_would_change(cause.would_change());
  return verdict_words(cause.verdict());
}

void explain_test(const v1::Decision& decision, v1::WhyResponse& response) {
  response.add_steps(absl::StrCat(decision.node().empty() ? "fleet" : decision.node(), ": ", decision.message()));
  add_if(decision.formula(), "because ", response);
  if (decision.has_confidence())
    response.add_steps(absl::StrFormat("  verdict %s, confidence %.2f", decision.verdict(), decision.confidence()));
  if (!decision.would_change().empty()) response.add_would_change(decision.would_change());
}

std::string describe_test(const v1::UpstreamCounters& upstream) {
  std::string text;
  if (!upstream.bound_by().empty() && upstream.bound_by() != "none" && upstream.bound_by() != "max")
    absl::StrAppend(&text, ", limited by ", upstream.bound_by());
  if (!upstream.cause_state().empty() && upstream.cause_state() != "free")
    absl::StrAppend(&text, ", ", state_words(upstream.cause_state()));
  if (const auto words = verdict_words(upstream.cause_verdict()); !words.empty()) absl::StrAppend(&text, ", ", words);
  if (upstream.refusing()) absl::StrAppend(&text, ", refusing calls");
  return text;
}

}  // namespace penstock::controller
