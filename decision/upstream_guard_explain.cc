#include <climits>

#include "decision/text.h"
#include "penstock/decision/upstream_guard.h"

namespace penstock::decision {

std::vector<std::string> UpstreamGuard::explain(Instant now) const {
  std::vector<std::string> lines;
  const UpstreamCounts c = counts(now);
  const int limit = limit_in_force();
  const std::string_view bound = bound_by();
  lines.push_back(limit == INT_MAX ? std::string("calls are not limited")
                                   : format("limit %d, bound by %.*s%s", limit, static_cast<int>(bound.size()),
                                            bound.data(), shadow_ ? "; shadow: not enforced" : ""));
  lines.push_back(
      format("%d calls in flight of mean age %.3g s, %d wait; %.1f answers/s; latency %.3g s, usually %.3g s; "
             "patience %.3g s",
             c.in_flight, seconds(c.mean_age), c.waiting, signals_.throughput_fast(), seconds(signals_.latency()),
             seconds(signals_.usual_latency()), seconds(breaker_.patience())));
  if (const double expected = seconds(signals_.expected_latency()); expected > 0) {
    lines.push_back(format("the fleet's history expects %.3g s at this hour: now %.2f x", expected,
                           seconds(signals_.latency()) / expected));
  }
  const auto word = [](std::string_view text) { return std::string(text); };
  const auto usefulness = breaker_.usefulness();
  lines.push_back("breaker " + word(to_string(breaker_.state())) +
                  (usefulness ? format(", usefulness %.2f", *usefulness) : std::string(", usefulness not known")));
  if (bucket_.active()) {
    lines.push_back(format("the upstream refuses calls (%.0f %% in the last second): %.1f calls/s go out",
                           bucket_.refused_share(now) * 100, *bucket_.rate()));
  }
  const CauseTest::Hold& hold = test_.holds();
  lines.push_back("cause test " + word(to_string(hold.state)) + ", verdict " + word(to_string(hold.verdict)) +
                  (hold.limit ? format(", limit %d", *hold.limit) : std::string()));
  if (const auto& last = test_.last_decision()) {
    lines.push_back(format("%.1f s ago: ", seconds(now - last->at)) + last->sentence);
    lines.push_back("by: " + last->formula);
    lines.push_back(format("confidence %.2f; would change by: ", last->confidence) + last->would_change);
  }
  return lines;
}

}  // namespace penstock::decision
