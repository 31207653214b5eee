#include "runtime/fiber/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <random>
#include <vector>

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;

struct Recorded final : Timer {
  Recorded(std::vector<Recorded*>& ended, Instant at) : ended(ended), at(at) {}
  void on_time() noexcept override {
    set = false;
    ended.push_back(this);
    if (then) then();
  }

  std::vector<Recorded*>& ended;
  const Instant at;
  bool set = true;
  std::function<void()> then;
};

// From the start of the wheel's time, and long after it.
class TimerWheelFrom : public testing::TestWithParam<Duration> {
 protected:
  Recorded& set(Instant at) {
    Recorded& timer = timers.emplace_back(ended, at);
    wheel.add(timer, at);
    return timer;
  }

  const Instant start{GetParam()};
  TimerWheel wheel;
  std::deque<Recorded> timers;
  std::vector<Recorded*> ended;
};
INSTANTIATE_TEST_SUITE_P(Sweep, TimerWheelFrom, testing::Values(0s, 1h, 24h * 365, 24h * 365 * 100 + 12345ns));

TEST_P(TimerWheelFrom, EndsEachAtItsTimeWhateverIsTakenBack) {
  std::mt19937_64 random(1);
  // As near as nanoseconds, as far as decades.
  const auto some = [&] { return Duration(static_cast<Duration::rep>(random() >> (4 + random() % 60))); };
  Instant now = start;
  wheel.expire(now);
  set(now + 1h);
  for (int round = 0; round < 5000; ++round) {
    for (auto i = random() % 4; i > 0; --i) set(now + some());
    if (random() % 2 == 0) {
      Recorded& one = timers[random() % timers.size()];
      wheel.remove(one);
      one.set = false;
    }
    ended.clear();
    // By a little, to the next, or by a lot.
    const auto step = random() % 8;
    if (step == 0) now += some() / 1024;
    if (step < 3) now = std::max(now, std::min(wheel.next(), now + 24h * 365));
    now += Duration(random() % 1'000'000);
    std::vector<Recorded*> due;
    Instant earliest = Instant::max();
    for (Recorded& timer : timers) {
      if (!timer.set) continue;
      if (timer.at <= now) {
        due.push_back(&timer);
      } else {
        earliest = std::min(earliest, timer.at);
      }
    }
    wheel.expire(now);
    ASSERT_TRUE(std::is_sorted(ended.begin(), ended.end(), [](auto* a, auto* b) { return a->at < b->at; }));
    std::sort(ended.begin(), ended.end());
    std::sort(due.begin(), due.end());
    ASSERT_EQ(ended, due);
    ASSERT_LE(wheel.next(), earliest);
    ASSERT_GT(wheel.next(), now);
    if (now - start > 24h * 365 * 100) break;
  }
  for (Recorded& timer : timers) wheel.remove(timer);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.next(), Instant::max());
}

// A thread that has nothing else to do wakes up for it once.
TEST_P(TimerWheelFrom, OneThatIsNotTakenBackIsNextToTheNanosecond) {
  wheel.expire(start);
  for (Duration d : std::vector<Duration>{1ns, 1us, 1ms, 16ms, 17ms, 40ms, 1s, 2s, 70s, 1h, 100h, 24h * 365 * 30}) {
    Recorded& timer = set(start + d);
    EXPECT_EQ(wheel.next(), timer.at);
    wheel.remove(timer);
    EXPECT_EQ(wheel.next(), Instant::max());
  }
  Recorded& far = set(start + 30s);
  Recorded& near = set(start + 2s);
  set(start + 29s);
  EXPECT_EQ(wheel.next(), near.at);
  wheel.expire(near.at - 1ns);
  EXPECT_TRUE(ended.empty());
  wheel.expire(near.at);
  EXPECT_EQ(ended, std::vector{&near});
  EXPECT_EQ(wheel.next(), start + 29s);
  wheel.expire(far.at);
  EXPECT_EQ(ended.size(), 3u);
  EXPECT_EQ(ended.back(), &far);
}

TEST_P(TimerWheelFrom, WhatIsSetOrTakenBackByOneThatEndsHolds) {
  wheel.expire(start);
  Recorded& first = set(start + 1s);
  Recorded& second = set(start + 1s + 1ms);
  Recorded* past = nullptr;
  Recorded* later = nullptr;
  first.then = [&] {
    wheel.remove(second);
    past = &set(start);
    later = &set(start + 2s);
  };
  wheel.expire(start + 1500ms);
  EXPECT_EQ(ended, (std::vector{&first, past}));
  EXPECT_EQ(wheel.next(), start + 2s);
  wheel.expire(start + 2s);
  EXPECT_EQ(ended.back(), later);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST_P(TimerWheelFrom, TheEndOfTimeNeverComes) {
  wheel.expire(start);
  Recorded& never = set(Instant::max());
  Recorded& past = set(Instant::min());
  wheel.expire(start);
  EXPECT_EQ(ended, std::vector{&past});
  wheel.expire(Instant::max() - 1ns);
  EXPECT_EQ(ended, std::vector{&past});
  wheel.remove(never);
  EXPECT_EQ(wheel.size(), 0u);
}

}  // namespace
}  // namespace penstock::fiber
