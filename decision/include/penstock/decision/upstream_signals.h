#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "penstock/decision/time.h"
#include "penstock/decision/usual_latency.h"

namespace penstock::decision {

// What is counted of the calls to one upstream, since its beginning, and how it stands now. A node counts its own; sums
// over the nodes of a service are of the same kind.
struct UpstreamCounts {
  // Calls that asked to go out, whether they did or not.
  std::int64_t attempts = 0;
  // Calls that were answered; that ended with an error or ran out of time; those of them that the upstream refused for
  // being too many (429, or 503 with Retry-After).
  std::int64_t ok = 0;
  std::int64_t failed = 0;
  std::int64_t refused = 0;
  // Sum of the times of those that were answered.
  Duration latency{};
  // Calls at the upstream, and calls that wait for a place.
  int in_flight = 0;
  int waiting = 0;
  // Of the calls at the upstream.
  Duration mean_age{};
};

// Counts as signals, updated every 100 ms. Not thread-safe. Constant memory, no allocation.
//
//   X    answers per second, as two exponentially weighted means: fast with a half-life of 0.5 s, slow with 10 s
//   W    latency: mean over a window of at least 10 answers, raised to the mean age of what is in flight. In a steady
//        state of equal calls that is half their latency, of memoryless ones all of it; above W it says that answers
//        stay out, long before a time-out does
//   W_b  usual latency: usual_latency.h, bounded by what is expected, if that is known. Frozen while W > kTrouble W_b
//   or as long as told so, but no longer than
//        kFrozen: an upstream that has become slower for good becomes usual in the end
class UpstreamSignals {
 public:
  static constexpr double kTrouble = 2.5;

  // `frozen`: the usual latency learns nothing.
  void tick(const UpstreamCounts& counts, bool frozen, Instant now);

  // Usual latency by what others know of better times; zero: nothing is known.
  void expect(Duration latency) { usual_.expect(latency); }
  Duration expected_latency() const { return usual_.expected(); }

  const UpstreamCounts& now() const { return last_; }
  double throughput_fast() const { return fast_; }
  double throughput_slow() const { return slow_; }
  Duration latency() const;
  Duration usual_latency() const { return usual_.get(); }
  bool in_trouble() const { return seconds(latency()) > kTrouble * seconds(usual_latency()); }
  // The most calls in flight that went with usual latency, forgotten with a half-life of a minute.
  double usual_in_flight() const { return usual_in_flight_; }

  // What happened between two ticks.
  struct Span {
    double seconds = 0;
    std::int64_t attempts = 0;
    std::int64_t ok = 0;
    std::int64_t failed = 0;
    std::int64_t refused = 0;
    Duration latency{};
    // Mean over the ticks.
    double in_flight = 0;

    double per_second(std::int64_t count) const { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }
    double throughput() const { return per_second(ok); }
    Duration mean_latency() const { return ok > 0 ? latency / ok : Duration::zero(); }
  };
  // From the last tick at or before `from` to the last one at or before `to`; as far as kHistory ticks reach.
  Span between(Instant from, Instant to) const;
  Span since(Instant from) const;

  static constexpr std::size_t kHistory = 256;

  // What tick() is going to read and write, in two steps: the second reads what the first has asked for.
  void prefetch() const;
  void prefetch_samples() const;

 private:
  // A line of the cache each: a tick writes one, and reads as many as it looks back to.
  struct alignas(64) Sample {
    Instant at{};
    std::int64_t attempts = 0;
    std::int64_t ok = 0;
    std::int64_t failed = 0;
    std::int64_t refused = 0;
    Duration latency{};
    std::int64_t in_flight_sum = 0;
  };
  const Sample& sample(std::size_t back) const { return samples_[(newest_ + kHistory - back) % kHistory]; }
  std::size_t back_to(Instant at) const;

  std::size_t newest_ = 0;
  std::size_t kept_ = 0;
  std::int64_t in_flight_sum_ = 0;
  UpstreamCounts last_;
  Instant ticked_{};
  double fast_ = 0;
  double slow_ = 0;
  Duration window_latency_{};
  std::int64_t window_calls_ = 0;
  Duration window_mean_{};
  UsualLatency usual_;
  Duration in_trouble_for_{};
  double usual_in_flight_ = 0;

  // Behind what each tick reads.
  std::array<Sample, kHistory> samples_{};
};

}  // namespace penstock::decision
