#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <optional>
#include <vector>

#include "penstock/decision/upstream_guard.h"
#include "tests/unit/decision/seeded_random.h"

// Ticks of a guard that is idle may be made later.
namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

UpstreamPolicy policy() {
  UpstreamPolicy policy;
  policy.name = "a";
  policy.limit = {.mode = LimitMode::adaptive, .min = 2, .max = 50};
  policy.breaker.error_ratio = 0.5;
  policy.breaker.slow_call = SlowCallRule{.over = 1s, .ratio = 0.5};
  policy.breaker.min_calls = 5;
  policy.timeout = 4s;
  return policy;
}

// A guard, and calls that come and end at given times. One that is `lazy` makes its ticks no sooner than it must.
class Guarded {
 public:
  explicit Guarded(bool lazy) : lazy_(lazy), guard_(policy(), true, false, 7) {}

  void call(Duration takes, GuardedOutcome outcome, Instant now) {
    catch_up();
    Made& made = made_.emplace_back();
    const auto answer = guard_.offer(made.call, now + 4s, now, decided_);
    made.waits = answer.offer == UpstreamGuard::Offer::wait;
    made.ends = now + std::min<Duration>(takes, 4s);
    made.outcome = takes > 4s ? GuardedOutcome::timeout : outcome;
    answers.push_back(answer.offer);
    if (answer.offer == UpstreamGuard::Offer::refused) made_.pop_back();
  }

  void end_calls(Instant now) {
    give_up_who_waits(now);
    for (auto it = made_.begin(); it != made_.end();) {
      if (it->waits ? !guard_.withdraw(it->call) : it->ends > now) {
        ++it;
        continue;
      }
      if (!it->waits) guard_.end(it->call, it->outcome, {}, now, decided_);
      it = made_.erase(it);
    }
  }

  void tick(const UpstreamGuard::Tick& tick) {
    late_.push_back(tick);
    if (lazy_ && made_.empty() && guard_.idle(tick.now)) {
      ++slept;
      return;
    }
    catch_up();
  }

  void catch_up() {
    for (const UpstreamGuard::Tick& tick : late_) guard_.tick(tick, decided_);
    late_.clear();
    while (auto transition = guard_.take_transition()) told.push_back(transition->message);
    while (auto decision = guard_.take_decision()) told.push_back(decision->sentence);
  }

  bool idle(Instant now) const { return made_.empty() && guard_.idle(now); }
  const UpstreamGuard& guard() const { return guard_; }

  std::vector<UpstreamGuard::Offer> answers;
  std::vector<std::string> told;
  int slept = 0;

 private:
  // Who gets a place does not want it any more.
  void give_up_who_waits(Instant now) {
    while (!decided_.empty()) {
      const Verdict verdict = decided_.pop_front();
      auto it = std::ranges::find_if(made_, [&](const Made& made) { return &made.call == verdict.ticket; });
      if (!verdict.rejected) guard_.give_back(it->call, now, decided_);
      made_.erase(it);
    }
  }

  struct Made {
    UpstreamGuard::Call call;
    Instant ends{};
    GuardedOutcome outcome{};
    bool waits = false;
  };
  const bool lazy_;
  UpstreamGuard guard_;
  Verdicts decided_;
  std::list<Made> made_;
  std::vector<UpstreamGuard::Tick> late_;
};

class IdleGuard : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Seeds, IdleGuard, testing::Range(0, 20));

// Calls come in bursts, some slow, some failing, some never answered; memory comes and goes.
TEST_P(IdleGuard, DecidesTheSameWhenItsTicksAreMadeLate) {
  SeededRandom random(static_cast<std::uint64_t>(GetParam()));
  Guarded eager(false), lazy(true);
  Instant now{1h};
  Instant burst = now;
  Instant pause = now;
  Duration latency = 50ms;
  double failing = 0;
  double pressure = 0;
  int bulkhead = 1000;
  for (int step = 0; step < 400'000; ++step, now += 5ms) {
    if (now >= pause) {
      burst = now + from_seconds(random.uniform(0.1, 20));
      pause = burst + from_seconds(random.uniform(0.1, 1) * (random.chance(0.3) ? 20 : 1));
      latency = random.chance(0.1) ? Duration(2s) : random.chance(0.03) ? Duration(1h) : Duration(50ms);
      failing = random.chance(0.1) ? random.uniform() : 0;
      pressure = random.chance(0.2) ? random.uniform() : 0;
      bulkhead = random.chance(0.2) ? 1 + random.below(20) : 1000;
    }
    for (Guarded* each : {&eager, &lazy}) each->end_calls(now);
    if (now < burst && random.chance(0.2)) {
      const auto outcome = random.chance(failing) ? GuardedOutcome::error : GuardedOutcome::ok;
      for (Guarded* each : {&eager, &lazy}) each->call(latency, outcome, now);
    }
    if (step % 20 != 0) continue;
    const std::size_t told = eager.told.size();
    const bool sleeps = lazy.idle(now);
    const UpstreamGuard::Tick tick{
        .now = now, .wall = now.time_since_epoch(), .memory_pressure = pressure, .bulkhead = bulkhead};
    for (Guarded* each : {&eager, &lazy}) each->tick(tick);
    ASSERT_TRUE(!sleeps || eager.told.size() == told) << "idle, and yet: " << eager.told.back();
  }
  lazy.catch_up();
  EXPECT_EQ(lazy.answers, eager.answers);
  EXPECT_EQ(lazy.told, eager.told);
  EXPECT_EQ(lazy.guard().explain(now), eager.guard().explain(now));
  EXPECT_EQ(lazy.guard().signals().throughput_slow(), eager.guard().signals().throughput_slow());
  EXPECT_EQ(lazy.guard().signals().usual_in_flight(), eager.guard().signals().usual_in_flight());
  EXPECT_EQ(lazy.guard().breaker().usefulness(), eager.guard().breaker().usefulness());
  EXPECT_GT(lazy.slept, 10);
}

}  // namespace
}  // namespace penstock::decision
