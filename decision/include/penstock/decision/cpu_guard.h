#pragma once

#include <memory>
#include <vector>

#include "penstock/decision/admission.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

namespace penstock::decision {

// The door of a node whose CPU may be too small: a request is started while few are runnable, else it waits at the
// door, where it costs nothing. What has been started is finished at full speed; without the door a saturated CPU is
// shared by so many that none is done in time.
//
// Starts while runnable < kRunnablePerCore x cores; `runnable` includes what was started just now. Two a core keep
// every core busy while one waits for its turn; more only lengthens the run delay. Where requests first wait for an
// upstream and need the CPU later, few are runnable long before those that were started have had theirs: so, once it is
// known how much CPU a request needs, no more are started than the cores could serve in the time, and kAhead more, so
// that the guess of a need that has become smaller is found out. At the door oldest first until the
// oldest has waited 50 ms, from then on newest first: the newest are sure to have somebody waiting (B. Maurer, "Fail at
// Scale", ACM Queue 13(8), 2015). Priorities, deadlines and the bound of the queue are those of Admission.
//
// Not thread-safe.
class CpuGuard {
 public:
  static constexpr double kRunnablePerCore = 2;
  // At the door of one node: fewer would turn bursts away, longer and nobody waits any more.
  static constexpr int kLongestQueue = 10'000;
  static constexpr Duration kLongestWait = std::chrono::seconds(5);

  // cores >= 1.
  CpuGuard(int cores, int longest_queue, Duration longest_wait);

  // `runnable`: ready or running now. A queued ticket must stay alive until it appears in `decided` or is withdrawn.
  Admission::Answer offer(Ticket& ticket, int runnable, Instant now, std::vector<Verdict>& decided);
  // Starts what fits. Call when runnable changed, and every few milliseconds while somebody waits.
  void poll(int runnable, Instant now, std::vector<Verdict>& decided);
  bool withdraw(Ticket& ticket) { return door_.withdraw(ticket); }
  // One that was started has ended, and has needed so much CPU.
  void served(Duration cpu);
  // One that was started has ended: how long requests are busy bounds who may still hope.
  void ended(Duration busy, Instant now) { door_.tell({.count = 1, .shortest = busy}, now); }

  int waiting() const { return door_.queue_length(); }
  Instant next_event() const { return door_.next_event(); }

 private:
  static constexpr double kAhead = 1.1;
  // Of the last requests, in the mean of what they needed.
  static constexpr double kWeight = 1.0 / 32;

  void set_room(int runnable, Instant now, std::vector<Verdict>& decided);
  const int cores_;
  const int most_;
  // Mean; zero: not known.
  Duration need_{};
  // Requests that the cores could serve since, at most `most_`.
  double tokens_ = 0;
  Instant filled_{};
  Admission door_;
};

}  // namespace penstock::decision
