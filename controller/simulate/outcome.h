#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "controller/simulate/scenario.h"
#include "controller/simulate/strategy.h"

// What is counted of a run.
namespace penstock::simulate {

struct Concluded {
  double time = 0;
  std::uint32_t node = 0;
  std::string upstream;
  Cause cause = Cause::none;
  Truth truth = Truth::none;
  std::string message;
};

struct BreakerMoved {
  double time = 0;
  std::uint32_t node = 0;
  std::uint32_t upstream = 0;
  bool open = false;
};

// Users by the second of their first try.
struct Second {
  int affected = 0;
  int affected_served = 0;
  int others = 0;
  int others_served = 0;
};

// One run, as it is told. Ratios in [0, 1].
struct Row {
  std::string scenario;
  std::string policy;
  std::uint64_t seed = 0;
  // Users answered within their patience from the first try.
  double goodput = 0;
  std::optional<double> affected_goodput;
  std::optional<double> unaffected_goodput;
  std::optional<double> unaffected_p99_ms;
  // Tries that were refused while nothing was the matter.
  double shed_normal = 0;
  // Calls to upstreams that no answered user got anything from.
  double wasted_call_ratio = 0;
  double tries_per_user = 0;
  double peak_memory_mib = 0;
  int crashes = 0;
  std::vector<Concluded> verdicts;
  // From the beginning of the first episode to the first breaker that opened.
  std::optional<double> trip_s;
  // From the end of the last episode until the affected users are served again.
  std::optional<double> recovery_s;
  // From the beginning of the first episode that is this service's own fault until that was said.
  std::optional<double> knee_s;

  std::int64_t users = 0;
  std::int64_t calls = 0;
  std::uint64_t events = 0;
  double wall_s = 0;
  // From the beginning of the run.
  std::vector<Second> series;
};

// Latencies in bins of 1 %.
class LatencyHistogram {
 public:
  void add(Duration latency);
  // Unset when empty.
  std::optional<Duration> quantile(double q) const;

 private:
  std::vector<std::int64_t> bins_;
  std::int64_t count_ = 0;
};

class Outcome {
 public:
  explicit Outcome(const Scenario& scenario);

  void user_came(Instant first_try);
  void user_served(std::uint32_t page, Instant first_try, Instant now);
  void user_lost(std::uint32_t page, Instant first_try);
  void try_made(Instant first_try);
  void try_refused(Instant now);
  void tries_counted(Instant now) {
    if (normal(now)) ++normal_tries_;
  }
  // Of a request that ended.
  void calls_made(std::int64_t calls, bool useful, Instant began);
  void memory_used(std::int64_t bytes) { peak_memory_ = std::max(peak_memory_, bytes); }
  void crashed() { ++crashes_; }
  void concluded(Instant now, std::uint32_t node, std::uint32_t upstream, Cause cause, std::string_view message);
  void breaker_moved(Instant now, std::uint32_t node, std::uint32_t upstream, bool open);

  // What is known now; the caller fills in who and which.
  Row row() const;

 private:
  Second& second(Instant first_try) {
    return by_second_[static_cast<std::size_t>(decision::seconds(since_start(first_try)))];
  }
  bool measured(Instant first_try) const { return scenario_.measure.contains(since_start(first_try)); }
  // Nothing is the matter, nor was in the last while.
  bool normal(Instant now) const;
  std::optional<double> recovery() const;

  struct Count {
    std::int64_t good = 0;
    std::int64_t all = 0;
    std::optional<double> ratio() const;
  };

  const Scenario& scenario_;
  const std::optional<Window> trouble_;
  Count affected_;
  Count unaffected_;
  LatencyHistogram unaffected_latency_;
  std::vector<Second> by_second_;
  std::int64_t users_ = 0;
  std::int64_t tries_ = 0;
  std::int64_t normal_tries_ = 0;
  std::int64_t normal_refused_ = 0;
  std::int64_t calls_ = 0;
  std::int64_t wasted_ = 0;
  std::int64_t peak_memory_ = 0;
  int crashes_ = 0;
  std::vector<Concluded> verdicts_;
  std::vector<BreakerMoved> breakers_;
};

}  // namespace penstock::simulate
