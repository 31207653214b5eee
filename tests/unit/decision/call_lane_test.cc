#include "penstock/decision/call_lane.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "penstock/decision/circuit_breaker.h"

namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

Instant at(Duration d) { return Instant(1000s + d); }

BreakerPolicy rules() {
  BreakerPolicy policy;
  policy.error_ratio = 0.5;
  policy.slow_call = SlowCallRule{.over = 3s, .ratio = 0.6};
  return policy;
}

// How a call that begins at that moment goes.
struct Fate {
  Duration latency;
  CallOutcome outcome;
};
using World = std::function<Fate(Duration since_start, std::mt19937& random)>;

// A breaker whose calls go through so many lanes; none: each is begun and ended at the breaker itself.
class Traffic {
 public:
  Traffic(int lanes, Duration timeout) : timeout_(timeout), breaker_(rules(), timeout, 7) {
    for (int i = 0; i < lanes; ++i) {
      lanes_.push_back(std::make_unique<CallLane>());
      breaker_.entrust(*lanes_.back());
    }
  }

  // The first change of state within the time; with the reason.
  std::optional<CircuitBreaker::Transition> run(const World& world, Duration how_long, double calls_per_second) {
    std::mt19937 random(11);
    std::exponential_distribution<double> gap(calls_per_second);

    enum { tick, begin, end };
    std::vector<std::pair<std::unique_ptr<CircuitBreaker::Call>, CallOutcome>> calls;
    std::multimap<Duration, std::pair<int, std::size_t>> events{{100ms, {tick, 0}}, {0ms, {begin, 0}}};
    while (!events.empty()) {
      const auto [when, event] = *events.begin();
      events.erase(events.begin());
      if (when > how_long) break;
      const Instant now = at(when);
      if (event.first == tick) {
        collect(now);
        for (auto& lane : lanes_) breaker_.age(*lane, now);
        breaker_.tick(now, 0);
        events.emplace(when + 100ms, std::pair(tick, 0));
      } else if (event.first == begin) {
        const Fate fate = world(when, random);
        const std::size_t which = calls.size();
        calls.emplace_back(std::make_unique<CircuitBreaker::Call>(), fate.outcome);
        CircuitBreaker::Call& call = *calls.back().first;
        if (lanes_.empty()) {
          EXPECT_TRUE(breaker_.begin(call, timeout_, now));
        } else {
          EXPECT_TRUE(breaker_.steady(now));
          lanes_[which % lanes_.size()]->begin(call, timeout_, now);
        }
        events.emplace(when + fate.latency, std::pair(end, which));
        events.emplace(when + from_seconds(gap(random)), std::pair(begin, 0));
      } else {
        CircuitBreaker::Call& call = *calls[event.second].first;
        const CallOutcome outcome = calls[event.second].second;
        const bool ended =
            !lanes_.empty() && outcome == CallOutcome::ok && lanes_[event.second % lanes_.size()]->end(call, now);
        if (!ended) {
          collect(now);
          breaker_.end(call, outcome, now);
        }
      }
      if (auto change = breaker_.take_transition()) return change;
    }
    return std::nullopt;
  }

 private:
  void collect(Instant now) {
    for (auto& lane : lanes_) breaker_.collect(*lane, now);
  }

  Duration timeout_;
  CircuitBreaker breaker_;
  std::vector<std::unique_ptr<CallLane>> lanes_;
};

struct Case {
  const char* name;
  World world;
  const char* reason;  // null: it stays closed
};

Fate well(std::mt19937& random) { return {std::chrono::milliseconds(20 + random() % 60), CallOutcome::ok}; }

const Case kCases[] = {
    {"AllIsWell", [](Duration, std::mt19937& random) { return well(random); }, nullptr},
    {"BearablySlow",
     [](Duration t, std::mt19937& random) {
       return t < 5s ? well(random) : Fate{2s, CallOutcome::ok};
     },
     nullptr},
    {"Errors",
     [](Duration t, std::mt19937& random) {
       return t < 5s || random() % 10 < 2 ? well(random) : Fate{10ms, CallOutcome::error};
     },
     "error_ratio"},
    {"Slow",
     [](Duration t, std::mt19937& random) {
       return t < 5s || random() % 10 < 1 ? well(random) : Fate{4s, CallOutcome::ok};
     },
     "slow_call_ratio"},
    {"BlackHole",
     [](Duration t, std::mt19937& random) {
       return t < 5s ? well(random) : Fate{9s, CallOutcome::timeout};
     },
     "usefulness"},
};

class SameTrafficThroughLanes : public testing::TestWithParam<std::tuple<int, int>> {};
INSTANTIATE_TEST_SUITE_P(Sweep, SameTrafficThroughLanes,
                         testing::Combine(testing::Range(0, 5), testing::Values(1, 2, 8)), [](const auto& info) {
                           return std::string(kCases[std::get<0>(info.param)].name) +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST_P(SameTrafficThroughLanes, TripsTheBreakerWithinATick) {
  const Case& given = kCases[std::get<0>(GetParam())];
  const Duration timeout = 9s;

  const auto direct = Traffic(0, timeout).run(given.world, 30s, 100);
  const auto through = Traffic(std::get<1>(GetParam()), timeout).run(given.world, 30s, 100);
  ASSERT_EQ(direct.has_value(), given.reason != nullptr);
  ASSERT_EQ(through.has_value(), direct.has_value());
  if (!direct) return;
  EXPECT_EQ(through->reason, direct->reason);
  EXPECT_LE(through->at - direct->at, 100ms);
  EXPECT_LE(direct->at - through->at, 100ms);
}

TEST(CallLane, LeavesToTheBreakerWhatSaysMore) {
  CircuitBreaker breaker(rules(), 10s, 1);
  CallLane lane;
  breaker.entrust(lane);
  CircuitBreaker::Call call;
  lane.begin(call, 10s, at(0s));
  EXPECT_EQ(lane.oldest(at(1s)), 1s);
  EXPECT_EQ(lane.untold_for(at(1s)), 1s);
  EXPECT_FALSE(lane.end(call, at(300ms))) << "it is older than the first edge";
  breaker.collect(lane, at(300ms));
  EXPECT_EQ(lane.untold_for(at(1s)), 0s);
  breaker.end(call, CallOutcome::ok, at(300ms));
  EXPECT_EQ(lane.oldest(at(1s)), 0s);

  lane.begin(call, 50ms, at(2s));
  EXPECT_FALSE(lane.end(call, at(2s + 60ms))) << "it came too late for its caller";
  breaker.end(call, CallOutcome::ok, at(2s + 60ms));

  lane.begin(call, 10s, at(3s));
  EXPECT_TRUE(lane.end(call, at(3s + 50ms)));
}

TEST(CallLane, CallsFromBeforeAnOpeningAreTheBreakers) {
  CircuitBreaker breaker(rules(), 10s, 1);
  CallLane lane;
  breaker.entrust(lane);
  CircuitBreaker::Call call;
  lane.begin(call, 10s, at(0s));
  breaker.collect(lane, at(10ms));
  EXPECT_TRUE(breaker.steady(at(10ms)));
  breaker.force(BreakerForce::open, "maintenance", at(10ms));
  EXPECT_FALSE(breaker.steady(at(10ms)));
  breaker.force(BreakerForce::closed, "it is over", at(20ms));
  EXPECT_TRUE(breaker.steady(at(20ms)));
  breaker.entrust(lane);
  EXPECT_FALSE(lane.end(call, at(30ms)));
  breaker.end(call, CallOutcome::ok, at(30ms));
  EXPECT_EQ(lane.oldest(at(30ms)), 0s);
}

// Against a list that looks at every call.
TEST(CallList, AgesEachCallOnceAtEachEdge) {
  std::array<Duration, CallList::kBins> edges{};
  for (std::size_t i = 0; i < edges.size(); ++i) edges[i] = 10ms * static_cast<int>(i * i);
  std::mt19937 random(3);
  CallList list;
  struct Known {
    CircuitBreaker::Call call;
    int bin = 0;
    bool slow = false;
  };
  std::vector<std::unique_ptr<Known>> known;
  Duration over = 100ms;
  for (Duration t{}; t < 20s; t += std::chrono::milliseconds(random() % 8)) {
    const Instant now = at(t);
    switch (random() % 5) {
      case 0:
      case 1:
        known.push_back(std::make_unique<Known>());
        known.back()->call.started = now;
        list.append(known.back()->call);
        break;
      case 2:
        if (known.empty()) break;
        std::swap(known[random() % known.size()], known.back());
        list.remove(known.back()->call);
        known.pop_back();
        break;
      case 3: {
        const auto owner = [&](const CallList::Aged& aged) -> Known& {
          return **std::find_if(known.begin(), known.end(), [&](const auto& k) { return &k->call == aged.call; });
        };
        list.for_each_aged(edges, now, [&](const CallList::Aged& aged, int bin) {
          EXPECT_EQ(aged.started, aged.call->started);
          EXPECT_EQ(++owner(aged).bin, bin);
        });
        int slow = 0;
        list.for_each_slow(over, now, [&](const CallList::Aged& aged) {
          EXPECT_FALSE(owner(aged).slow);
          ++slow;
        });
        Instant oldest = Instant::max();
        for (const auto& k : known) {
          const Duration age = now - k->call.started;
          oldest = std::min(oldest, k->call.started);
          if (age > over && !std::exchange(k->slow, true)) --slow;
          EXPECT_EQ(list.slow(k->call), k->slow);
          EXPECT_EQ(list.bin(k->call), k->bin);
          const auto passed = std::upper_bound(edges.begin() + 1, edges.end(), age) - edges.begin() - 1;
          EXPECT_EQ(k->bin, passed);
        }
        EXPECT_EQ(slow, 0);
        EXPECT_EQ(list.oldest(), oldest);
        break;
      }
      case 4:
        if (random() % 100 != 0) break;
        over = std::chrono::milliseconds(50 + random() % 200);
        // Who was slow remains so.
        list.restart_slow();
        break;
    }
  }
  while (!known.empty()) {
    list.remove(known.back()->call);
    known.pop_back();
  }
  EXPECT_EQ(list.oldest(), Instant::max());
}

}  // namespace
}  // namespace penstock::decision
