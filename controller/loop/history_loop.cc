#include "controller/loop/history_loop.h"

#include <algorithm>
#include <utility>

#include "controller/process_log.h"
#include "penstock/fiber.h"

namespace penstock::controller {

namespace {

using namespace std::chrono_literals;

// Between two parts: Prometheus has others to answer.
constexpr decision::Duration kBetween = 200ms;
// What is expected moves with the time of the day.
constexpr decision::Duration kEvery = 60s;
// After one that failed.
constexpr decision::Duration kAgain = 10s;

}  // namespace

HistoryLoop::HistoryLoop(Fleet& fleet, DecisionLog& log, HistoryReader& reader, Clock& clock, MetricsRegistry& metrics,
                         HistoryOptions options)
    : fleet_(fleet), log_(log), reader_(reader), clock_(clock), options_(options) {
  using Emit = MetricsRegistry::Emit;
  metrics.collect("penstock_fleet_expected_latency_seconds",
                  "Latency of an upstream that is usual at this time of the week, by what Prometheus recorded.",
                  "gauge", [&fleet](const Emit& emit) {
                    for (const auto& [key, view] : fleet.baselines()->upstreams)
                      if (view.expected) emit({{"service", key.first}, {"upstream", key.second}}, view.expected->value);
                  });
  metrics.collect("penstock_fleet_latency_drift_ratio",
                  "Latency of an upstream over the last day to that of the same hours of the weeks before.", "gauge",
                  [&fleet](const Emit& emit) {
                    for (const auto& [key, view] : fleet.baselines()->upstreams)
                      if (view.drift) emit({{"service", key.first}, {"upstream", key.second}}, view.drift->ratio);
                  });
  metrics.collect("penstock_fleet_expected_rate",
                  "Requests per second that a pool of all nodes is expected to get within the next hour.", "gauge",
                  [&fleet](const Emit& emit) {
                    for (const auto& [key, view] : fleet.baselines()->pools)
                      if (view.expected) emit({{"service", key.first}, {"pool", key.second}}, view.rate);
                  });
}

void HistoryLoop::run() {
  if (options_.lookback.count() == 0) return;
  while (true) sleep_for(turn());
}

std::pair<HistoryLoop::Hour, HistoryLoop::Hour> HistoryLoop::next_part(Hour last) const {
  const std::chrono::hours part(part_);
  const Hour first = last - options_.lookback;
  if (from_ == to_) return {std::max(first, last - part), last};
  if (to_ < last) return {to_, std::min(last, to_ + part)};
  return {std::min(from_, std::max(first, from_ - part)), from_};
}

decision::Duration HistoryLoop::turn() {
  const auto wall = clock_.wall();
  const auto last =
      std::chrono::floor<std::chrono::hours>(wall - 4 * options_.scrape_interval - std::chrono::seconds(1));
  // A clock that was set back, or that slept for weeks: begin anew.
  if (to_ > last || (from_ != to_ && last - to_ > options_.lookback)) from_ = to_ = {};
  const auto [from, to] = next_part(last);
  bool failed = false;
  if (from < to) {
    const History history = reader_.read(from, to);
    failed = !history.error.empty();
    note(history.error);
    if (failed) {
      part_ = std::max(1, part_ / 2);
    } else {
      recollection_.record(history);
      if (from_ == to_) from_ = to_ = to;
      from_ = std::min(from_, from);
      to_ = std::max(to_, to);
      part_ = std::min(kLongestPart, 2 * part_);
    }
  }
  const auto [next_from, next_to] = next_part(last);
  const bool complete = from_ != to_ && next_from == next_to;
  Recollection::Turn turn = recollection_.turn(wall, complete);
  turn.baselines.error = error_;
  for (v1::Decision& decision : turn.decisions) log_.append(std::move(decision));
  fleet_.set_baselines(std::move(turn.baselines));
  return failed ? kAgain : complete ? kEvery : kBetween;
}

// Once when it fails, once when it is back.
void HistoryLoop::note(const std::string& error) {
  if (error.empty() != error_.empty()) {
    if (error.empty()) {
      log_event("history", {{"message", "what Prometheus recorded can be read again"}});
    } else {
      log_event("history", {{"message", "what Prometheus recorded cannot be read: what is usual stays as it is known"},
                            {"error", error}});
    }
  }
  error_ = error;
}

}  // namespace penstock::controller
