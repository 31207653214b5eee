#include "controller/fleet/baseline_view.h"

#include <algorithm>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace penstock::controller {

namespace {

using decision::Baseline;
using decision::Duration;

std::string date(std::chrono::system_clock::time_point at) {
  const std::time_t time = std::chrono::system_clock::to_time_t(at);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

std::string plural(std::int64_t count, const char* word) {
  return absl::StrCat(count, " ", word, count == 1 ? "" : "s");
}

std::string basis(const BaselineView& view) {
  std::string text = absl::StrCat(plural(view.hours, "recorded hour"), " since ", date(view.since));
  if (view.expected && view.expected->rests != Baseline::Rests::all_hours)
    absl::StrAppend(&text, ", ", std::string(to_string(view.expected->rests)), " ", view.expected->samples, " times");
  return text;
}

// Why there is none.
std::string nothing(const BaselineView* view, const Baselines& all) {
  if (!all.error.empty()) return absl::StrCat("history: cannot be read: ", all.error);
  if (!all.complete) return "history: being read";
  const int hours = view == nullptr ? 0 : view->hours;
  return absl::StrCat("history: ", plural(hours, "hour"), " recorded, ", Baseline::kFewest,
                      " are needed to say what is usual");
}

}  // namespace

std::string span_text(Duration span) {
  const std::int64_t hours = span / std::chrono::hours(1);
  if (hours % Baseline::kWeek == 0) return plural(hours / Baseline::kWeek, "week");
  if (hours % Baseline::kDay == 0) return plural(hours / Baseline::kDay, "day");
  return plural(hours, "hour");
}

std::string describe_upstream_baseline(const BaselineView* view, const Baselines& all, Duration latency) {
  if (view == nullptr || !view->expected) return nothing(view, all);
  std::string text = absl::StrFormat("history: %.3gs expected at this hour", view->expected->value);
  if (latency > Duration::zero() && view->expected->value > 0)
    absl::StrAppendFormat(&text, ", now %.2f x", decision::seconds(latency) / view->expected->value);
  absl::StrAppend(&text, " (", basis(*view), ")");
  if (view->departure) absl::StrAppendFormat(&text, "; the last three hours %.2f x", view->departure->ratio);
  if (view->drift)
    absl::StrAppendFormat(&text, "; the last day %.2f x what it was %s ago", view->drift->ratio,
                          span_text(view->drift->over));
  if (!all.error.empty()) absl::StrAppend(&text, "; not read on: ", all.error);
  return text;
}

std::string describe_pool_baseline(const BaselineView* view, const Baselines& all) {
  if (view == nullptr || !view->expected) return nothing(view, all);
  std::string text = absl::StrFormat("history: %.1f/s expected at this hour, up to %.1f/s within the next (%s)",
                                     view->expected->value, view->rate, basis(*view));
  if (!all.error.empty()) absl::StrAppend(&text, "; not read on: ", all.error);
  return text;
}

}  // namespace penstock::controller
