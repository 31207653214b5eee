#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "controller/clock.h"
#include "controller/fleet/fleet.h"
#include "controller/loop/recollection.h"
#include "controller/signals/history_reader.h"
#include "controller/store/decision_log.h"
#include "penstock/metrics.h"

namespace penstock::controller {

struct HistoryOptions {
  // How far back Prometheus is asked at start; zero: not at all. At most four weeks.
  std::chrono::hours lookback{24 * 28};
  // Of the Prometheus that is read: an hour is read so long after its end that its last scrape is there.
  std::chrono::milliseconds scrape_interval{5'000};
};

// Reads what Prometheus recorded, the newest day first and a day at a time, then each hour when it is over, and tells
// the fleet what is usual by it. What cannot be read leaves what is known, is said once, and is asked for again in
// smaller parts.
class HistoryLoop {
 public:
  HistoryLoop(Fleet& fleet, DecisionLog& log, HistoryReader& reader, Clock& clock, MetricsRegistry& metrics,
              HistoryOptions options);
  HistoryLoop(const HistoryLoop&) = delete;

  // Turns until the calling fiber is cancelled.
  void run();
  // Reads one part, if there is any to read, and publishes what holds now. How long to wait before the next.
  decision::Duration turn();

 private:
  using Hour = std::chrono::time_point<std::chrono::system_clock, std::chrono::hours>;

  // The part to read next, [first, second); equal: none.
  std::pair<Hour, Hour> next_part(Hour last) const;
  void note(const std::string& error);

  Fleet& fleet_;
  DecisionLog& log_;
  HistoryReader& reader_;
  Clock& clock_;
  const HistoryOptions options_;
  Recollection recollection_;
  // Read from here to there; empty at first.
  Hour from_{}, to_{};
  // Hours of one part; less where Prometheus does not manage more in time.
  int part_ = kLongestPart;
  static constexpr int kLongestPart = 24;
  std::string error_;
};

}  // namespace penstock::controller
