#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "decision/call_window.h"
#include "decision/usefulness.h"
#include "penstock/decision/call_list.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/usual_latency.h"

namespace penstock::decision {

// From the first admitted calls to all of them.
inline constexpr Duration kSlowStart = std::chrono::milliseconds(1500);

struct CircuitBreaker::State {
  State(const BreakerPolicy& policy, Duration timeout, std::uint64_t seed);

  // Calls that began before the last close by probes say nothing about the upstream as it is now.
  bool counts(std::uint32_t call_era) const { return call_era >= first_era; }

  // A call leaves the bins from `from` to `to` alive.
  void survived(Instant started, std::uint32_t call_era, int from, int to) {
    if (!counts(call_era)) return;
    for (; from < to; ++from) usefulness.survived(from, started);
  }
  void age_all(CallList& list, Instant now);

  void add_patience(Duration sum, std::int64_t calls);
  Duration typical_patience() const;

  // --- states

  // In [0,1).
  double uniform();
  Duration jittered(Duration d);

  // Without memory it is not told of.
  void change(BreakerState to, Instant now, std::string_view reason, std::string message) noexcept;
  void open(Instant now, Instant due, std::string_view reason, std::string message);
  void half_open(Instant now);
  // Probes of earlier batches still count when they end, but no longer hold a place.
  void next_batch(Instant now);
  void close(Instant now, std::string_view reason, std::string message, bool forget);
  void reopen(Instant now, std::string message);

  bool admit_closed(Instant now);
  void probe_ended(Call& call, CallOutcome outcome, Instant now);
  int probes_to_fail() const { return policy.probes / 2 + 1; }

  // --- judging: circuit_breaker_judges.cc

  void judge_rules(Instant now);
  void judge_usefulness(Instant now, double pressure);
  // A trip for lack of usefulness was wrong if the calls from before it, or slow probes, are answered in time after
  // all.
  void judge_late_answers(Instant now);
  void judge_probes(Instant now);
  void judge_death(Instant now);
  Duration hang_limit() const;
  bool idle(Instant now);

  BreakerPolicy policy;
  Duration timeout;

  BreakerState state = BreakerState::closed;
  BreakerForce forced = BreakerForce::automatic;
  double patience = 0;
  std::optional<Instant> below_since;
  Instant ticked{};
  std::optional<Instant> slow_start;
  std::deque<Transition> transitions;
  CallList calls;
  // A tick of a closed breaker reads what stands above, the beginnings of these two, and little else.
  Usefulness usefulness;
  CallWindow window;

  // Which rule for slow calls lanes have last been looked at by.
  std::uint32_t slow_rule = 0;
  std::uint64_t random;
  UsualLatency usual;

  // Grows with every change that sets calls apart.
  std::uint32_t era = 0;
  std::uint32_t first_era = 0;
  bool by_usefulness = false;
  int late_answers = 0;
  // While not closed: since when there was no answer.
  Instant silent_since{};
  // Of death: by this breaker or by those of other nodes.
  bool suspected = false;
  bool failed_at_once = false;
  bool dead = false;

  Instant opened_at{};
  Instant probe_due{};
  std::vector<Call*> probes;
  std::uint32_t batch_era = 0;
  int probing = 0;
  Instant batch_started{};
  Instant batch_ends{};
  int probes_succeeded = 0;
  int probes_failed = 0;

  double credit = 0;
};

}  // namespace penstock::decision
