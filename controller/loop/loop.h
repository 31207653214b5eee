#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "controller/clock.h"
#include "controller/fleet/fleet.h"
#include "controller/loop/decide.h"
#include "controller/signals/signal_reader.h"
#include "controller/store/decision_log.h"
#include "penstock/metrics.h"

namespace penstock::controller {

struct LoopOptions {
  // Between the beginnings of two turns. A turn that takes longer delays the next.
  std::chrono::milliseconds period{1'000};
  // Of the Prometheus that is read: windows and staleness derive from it. At least 100 ms.
  std::chrono::milliseconds scrape_interval{1'000};
};

// The fleet's loop: observe, decide, publish. It takes part in nothing that a node can decide by itself.
class Loop {
 public:
  Loop(Fleet& fleet, DecisionLog& log, SignalReader& signals, Clock& clock, MetricsRegistry& metrics,
       LoopOptions options);
  ~Loop();
  Loop(const Loop&) = delete;

  // Turns until the calling fiber is cancelled.
  void run();
  // One turn, on the calling fiber.
  void turn();

  // A turn was completed within the last three periods; one that waits for Prometheus may take longer. Thread-safe.
  bool turning() const;

 private:
  struct Meters;

  void publish(const Plan& plan);
  void report(const Signals& signals, decision::Instant began);
  // Tells the log when queries begin to fail, fail otherwise, and when all are answered again.
  void note_failures(const Signals& signals);

  Fleet& fleet_;
  DecisionLog& log_;
  SignalReader& signals_;
  Clock& clock_;
  const decision::Instant started_;
  LoopOptions options_;
  LoopState state_;
  // Why, by the name of the signal.
  std::map<std::string, std::string> failing_;
  std::unique_ptr<Meters> meters_;
  // Counts what the log takes: decisions of the loop and everyone else's.
  std::uint64_t subscription_ = 0;
  // Nanoseconds on the monotonic clock; 0 before the first turn.
  std::atomic<std::int64_t> last_turn_{0};
};

}  // namespace penstock::controller
