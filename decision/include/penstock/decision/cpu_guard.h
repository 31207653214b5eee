#pragma once

#include <memory>

#include "penstock/decision/admission.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

namespace penstock::decision {

// The door of a node whose CPU may be too small: a request is started while few are runnable, else it waits at the
// door, where it costs nothing. What has been started is finished at full speed; without the door a saturated CPU is
// shared by so many that none is done in time.
//
// Starts while runnable < kRunnablePerCore x cores; `runnable` includes what was started just now. Two a core keep
// every core busy while one waits for its turn; more only lengthens the run delay.
//
// Where requests first wait for an upstream and need the CPU later, what is runnable now says nothing of what will be:
// to start many because few are runnable fills the CPU for a while, and to start none until those are done leaves it
// idle for as long as upstreams take. So, once it is known how much CPU a request needs, each that ends lets the next
// one in, and as many more as could have been served in the time that cores were idle. What was begun and has not ended
// then becomes what the cores need, whatever upstreams take, and stays so; a backlog makes it less. The time until the
// door is polled again is the time that all that is runnable takes: the backlog. At the door oldest first until the
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
  Admission::Answer offer(Ticket& ticket, int runnable, Instant now, Verdicts& decided);
  // Starts what fits. Call behind all that is runnable, and every few milliseconds while somebody waits.
  void poll(int runnable, Instant now, Verdicts& decided);
  bool withdraw(Ticket& ticket) { return door_.withdraw(ticket); }
  // One that was started has ended, and has needed so much CPU.
  void served(Duration cpu);
  // One that was started has ended: how long requests are busy bounds who may still hope.
  void ended(Duration busy, Instant now) { door_.tell({.count = 1, .shortest = busy}, now); }

  // Who has which share of the starts: shares.h.
  void set_shares(const std::vector<double>& weights) { door_.set_shares(weights); }

  int waiting() const { return door_.queue_length(); }
  Instant next_event() const { return door_.next_event(); }

 private:
  // From so much on, and so many requests, fewer are let in than end; from kDropped times as much on, none. With less
  // work at hand a core is idle now and then, because answers of upstreams come in no order.
  static constexpr Duration kLongBacklog = std::chrono::milliseconds(100);
  static constexpr int kLongRequests = 5;
  static constexpr double kFewer = 0.8;
  static constexpr int kDropped = 3;
  // Of the last requests, in the mean of what they needed.
  static constexpr double kWeight = 1.0 / 32;

  Duration long_backlog() const;
  void set_room(int runnable, Instant now, Verdicts& decided);
  const int cores_;
  const int most_;
  // Mean; zero: not known.
  Duration need_{};
  // Requests that may be started.
  double tokens_ = 0;
  Instant filled_{};
  // Cores, when it was last polled.
  int idle_ = 0;
  Duration backlog_{};
  Admission door_;
};

}  // namespace penstock::decision
