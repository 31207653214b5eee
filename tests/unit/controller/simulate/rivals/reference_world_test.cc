#include <gtest/gtest.h>

#include <stdexcept>

#include "controller/simulate/run.h"
#include "controller/simulate/scenario_file.h"

// What the rivals are known for, in scenarios that come with the program.
namespace penstock::simulate {
namespace {

// Begun 20 s later, as nothing happens before, and cut to so many seconds.
Scenario cut(std::string_view wanted, int seconds) {
  constexpr Duration kSkipped = std::chrono::seconds(20);
  for (const auto& [name, text] : embedded_scenarios()) {
    if (name != wanted) continue;
    Scenario scenario = std::move(*parse_scenario(text).scenario);
    for (UpstreamModel& upstream : scenario.upstreams) {
      for (Episode& episode : upstream.episodes) {
        episode.window = {episode.window.from - kSkipped, episode.window.to - kSkipped};
      }
    }
    scenario.duration = std::chrono::seconds(seconds);
    scenario.measure.from = std::chrono::seconds(40);
    scenario.measure.to = scenario.duration - std::chrono::seconds(10);
    return scenario;
  }
  throw std::invalid_argument(std::string(wanted));
}

Row live(std::string_view what, std::string_view rival, int seconds = 110) {
  for (const Contender& contender : contenders()) {
    if (contender.name == rival) return run(cut(what, seconds), contender, 1);
  }
  throw std::invalid_argument(std::string(rival));
}

TEST(ReferenceWorld, ASlowUpstreamHoldsAllThreads) {
  const Row row = live("a-5s", "threads-640");
  EXPECT_LT(*row.affected_goodput, 0.3);
  EXPECT_LT(*row.unaffected_goodput, 0.3);
}

TEST(ReferenceWorld, CheapWaitingDeadlinesAndCancellationAreMostOfTheGain) {
  const Row row = live("a-5s", "unlimited");
  EXPECT_GT(*row.affected_goodput, 0.8);
  EXPECT_GT(*row.unaffected_goodput, 0.99);
}

TEST(ReferenceWorld, LimitsAtTheDoorRefuseEveryoneForOneSlowUpstream) {
  for (const char* rival : {"gradient2", "envoy", "failsafe", "pid"}) {
    const Row row = live("a-5s", rival);
    EXPECT_LT(*row.affected_goodput, 0.25) << rival;
    EXPECT_LT(*row.unaffected_goodput, 0.25) << rival;
  }
}

TEST(ReferenceWorld, LimitsPerUpstreamRefuseOnlyThoseWhoNeedIt) {
  for (const char* rival : {"gradient2-fair", "vegas-fair", "pid-fair", "userver-fair"}) {
    const Row row = live("a-5s", rival);
    EXPECT_LT(*row.affected_goodput, 0.25) << rival;
    EXPECT_GT(*row.unaffected_goodput, 0.99) << rival;
  }
}

TEST(ReferenceWorld, FairLimitsFindTheKneeOfACapacity) {
  for (const char* rival :
       {"gradient2-fair", "vegas-fair", "envoy-fair", "envoy-50-fair", "brpc-fair", "pid-fair", "userver-fair"}) {
    EXPECT_GT(*live("capacity", rival).affected_goodput, 0.6) << rival;
  }
  EXPECT_LT(*live("capacity", "unlimited").affected_goodput, 0.3);
}

TEST(ReferenceWorld, NoFairFormRefusesNormalTrafficButTheOneThatPinsItsLimit) {
  for (const char* rival :
       {"gradient2-fair", "vegas-fair", "aimd-fair", "envoy-50-fair", "brpc-fair", "failsafe-fair",
        "resilience4j-2s-fair", "codel-lifo-fair", "pid-fair", "sre-throttle-fair", "userver-fair"}) {
    EXPECT_GT(live("normal", rival, 60).goodput, 0.999) << rival;
  }
}

TEST(ReferenceWorld, ABreakerKeepsABlackHoleFromTheMemory) {
  EXPECT_GT(live("memory", "unlimited", 60).crashes, 0);
  const Row row = live("memory", "resilience4j-2s-fair", 60);
  EXPECT_EQ(row.crashes, 0);
  EXPECT_GT(*row.unaffected_goodput, 0.95);
  EXPECT_TRUE(row.trip_s);
}

TEST(ReferenceWorld, TheSameSeedIsTheSameRun) {
  for (const char* rival : {"envoy-fair", "brpc", "pid-fair", "codel-lifo"}) {
    const Row one = live("capacity", rival, 60);
    const Row two = live("capacity", rival, 60);
    EXPECT_EQ(one.goodput, two.goodput) << rival;
    EXPECT_EQ(one.events, two.events) << rival;
  }
}

}  // namespace
}  // namespace penstock::simulate
