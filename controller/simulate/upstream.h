#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "controller/simulate/events.h"
#include "controller/simulate/random.h"
#include "controller/simulate/rivals/limiter.h"
#include "controller/simulate/scenario.h"

// A third party.
namespace penstock::simulate {

// Who calls an upstream, and is told how it ended.
class Caller {
 public:
  virtual ~Caller() = default;
  // `retry_after`: of a refusal that says when to come back; else the beginning of the run.
  virtual void answered(std::uint32_t caller_slot, Fate fate, Instant retry_after) = 0;
};

class Upstream final : public Actor {
 public:
  Upstream(const UpstreamModel& model, Duration end, Events& events, std::uint64_t seed);

  using Job = std::uint32_t;
  // The answer takes `extra` longer than the upstream needs for it.
  Job call(Caller& caller, std::uint32_t caller_slot, Duration extra);
  // The caller is told nothing any more.
  void abandon(Job job);

  void happen(std::uint8_t kind, std::uint32_t argument) override;

  // Calls of this service that are not answered yet, abandoned ones included where they are worked on.
  int in_flight() const { return busy_ + static_cast<int>(waiting_.size()); }

 private:
  enum Kind : std::uint8_t { kAnswer, kServed, kShared, kBoundary, kOther };
  enum class State : std::uint8_t { free, delayed, waiting, served, shared, silent };
  struct Slot {
    Caller* caller = nullptr;
    std::uint32_t caller_slot = 0;
    State state = State::free;
    bool abandoned = false;
    Fate fate = Fate::ok;
    Instant retry_after{};
    Duration extra{};
    // Moves on when the slot is free again.
    Generation generation = 0;
    // Of State::shared: the shared clock at which it is done.
    double done_at = 0;
  };
  // What it is like now.
  struct Regime {
    Duration latency;
    double spread;
    double share;
    double error_ratio;
    Duration error_latency;
    double silent_ratio;
    const Capacity* capacity;
    const RateLimit* rate_limit;
  };

  Regime regime() const;
  Job take_slot(Caller* caller, std::uint32_t caller_slot);
  void free_slot(Job job);
  Duration draw_latency(const Regime& regime);
  void answer_in(Job job, Duration delay, Fate fate);
  void deliver(Job job);

  // Servers behind a queue.
  void enter(Job job, const Regime& regime);
  void serve(Job job, Duration service);
  void drain();
  // All at once.
  void advance_shared();
  double shared_rate(const Capacity& capacity) const;
  void share(Job job, const Regime& regime);
  void schedule_shared();
  void next_other();

  const UpstreamModel& model_;
  Events& events_;
  Random random_;
  Random others_;
  std::deque<Slot> slots_;
  std::vector<Job> free_;
  int busy_ = 0;
  std::deque<Job> waiting_;

  // A heap by done_at; those that are abandoned and no longer worked on lie in it until they come up.
  std::vector<std::pair<double, Job>> shared_;
  int sharing_ = 0;
  double clock_ = 0;
  double rate_ = 1;
  Instant clock_at_ = kStart;
  Generation next_shared_ = 0;

  double tokens_ = 0;
  Instant tokens_at_ = kStart;
  const RateLimit* tokens_of_ = nullptr;
  bool others_come_ = false;
};

}  // namespace penstock::simulate
