#include "controller/simulate/scenario_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/simulate/random_scenario.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

std::vector<std::string> problems(std::string_view text) {
  std::vector<std::string> all;
  for (const policy::Problem& problem : parse_scenario(text).problems) all.push_back(to_string(problem, "s.yaml"));
  return all;
}

TEST(ScenarioFile, WhatIsLeftOutIsTheReferenceWorld) {
  const auto parsed = parse_scenario("kind: Scenario\nname: plain\nabout: Nothing happens.\n");
  ASSERT_TRUE(parsed.scenario);
  const Scenario& scenario = *parsed.scenario;
  EXPECT_EQ(scenario.load.rate, 300);
  EXPECT_EQ(scenario.nodes.count, 2);
  EXPECT_EQ(scenario.users.patience, 10s);
  ASSERT_EQ(scenario.pages.size(), 2u);
  EXPECT_EQ(scenario.pages[0].calls, (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_FALSE(scenario.pages[0].affected);
  EXPECT_EQ(scenario.policy.upstreams.size(), 4u);
  EXPECT_EQ(scenario.policy.routes[0].deadline, 10s);
  EXPECT_FALSE(scenario.trouble());
}

TEST(ScenarioFile, EpisodesSayWhoIsAffectedAndWhatIsTrue) {
  const auto parsed = parse_scenario(R"(
kind: Scenario
name: slow
about: A is slow, then full, then silent.
upstreams:
  - name: A
    episodes:
      - {from: 10s, to: 20s, latency: 5s}
      - {from: 20s, to: 30s, capacity: {servers: 3}}
      - {from: 30s, to: 40s, rateLimit: {rate: 5}}
      - {from: 40s, to: 50s, silentRatio: 1}
)");
  ASSERT_TRUE(parsed.scenario);
  const Scenario& scenario = *parsed.scenario;
  EXPECT_TRUE(scenario.pages[0].affected);
  EXPECT_FALSE(scenario.pages[1].affected);
  EXPECT_EQ(scenario.truth(0, 5s), Truth::none);
  EXPECT_EQ(scenario.truth(0, 15s), Truth::theirs);
  EXPECT_EQ(scenario.truth(0, 25s), Truth::ours);
  EXPECT_EQ(scenario.truth(0, 35s), Truth::full);
  EXPECT_EQ(scenario.truth(0, 45s), Truth::dead);
  EXPECT_EQ(scenario.measure.from, 10s);
  EXPECT_EQ(scenario.measure.to, 50s);
}

TEST(ScenarioFile, ErrorsSayWhere) {
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\nlod: {rate: 3}\n"),
              ElementsAre("s.yaml:4:1: lod: unknown field (did you mean load?)"));
  EXPECT_THAT(problems("kind: Policy\n"), ElementsAre("s.yaml:1:7: kind: expected Scenario, found \"Policy\""));
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\nnodes: {count: 0}\n"),
              ElementsAre("s.yaml:4:16: nodes.count: 0 is not in [1, 1000]"));
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\nupstreams: [{name: A, episodes: [{from: 9s, to: 8s}]}]\n"),
              ElementsAre("s.yaml:4:49: episodes[0].to: is not after from"));
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\nload: {curve: [{at: 0s, factor: 0}]}\n"),
              ElementsAre("s.yaml:4:7: load: nobody ever comes"));
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\npages: [{name: a, share: 0}]\n"),
              ElementsAre("s.yaml:4:8: pages: nobody wants any: all shares are 0"));
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\nnodes: {skews: [{node: 7, by: 2h}]}\n"),
              ElementsAre("s.yaml:4:24: skews[0].node: 7 is not in [0, 1]",
                          "s.yaml:4:31: skews[0].by: is not between 0s and 3600s"));
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\nhistory: {days: 29, day: 1s}\n"),
              ElementsAre("s.yaml:4:17: history.days: 29 is not in [0, 28]",
                          "s.yaml:4:26: history.day: is not between 24s and 86400s"));
  EXPECT_THAT(problems("kind: Scenario\nname: x\nabout: y\npolicy: {service: shop, pools: [{name: a, min: 0}]}\n"),
              ElementsAre(testing::StartsWith("s.yaml:4:48: pools[0].min: ")));
}

TEST(ScenarioFile, TheOnesThatComeAlongAreValidAndNamedLikeTheirFiles) {
  EXPECT_GE(embedded_scenarios().size(), 40u);
  for (const EmbeddedScenario& embedded : embedded_scenarios()) {
    const auto parsed = parse_scenario(embedded.text);
    for (const policy::Problem& problem : parsed.problems) ADD_FAILURE() << to_string(problem, embedded.name);
    EXPECT_TRUE(!parsed.scenario || parsed.scenario->name == embedded.name);
  }
}

TEST(ScenarioFile, RandomOnesAreValidAndTheSameForTheSameSeed) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const std::string text = random_scenario(seed);
    EXPECT_EQ(text, random_scenario(seed));
    const auto parsed = parse_scenario(text);
    for (const policy::Problem& problem : parsed.problems) ADD_FAILURE() << to_string(problem, text);
    ASSERT_TRUE(parsed.scenario) << seed;
    EXPECT_TRUE(parsed.scenario->pages[0].affected);
  }
}

TEST(Load, BurstsMultiplyAndCurvesAreLinear) {
  LoadModel load;
  load.rate = 100;
  load.curve = {{10s, 1}, {20s, 3}};
  load.bursts = {{{15s, 16s}, 5}};
  EXPECT_DOUBLE_EQ(load.rate_at(0s), 100);
  EXPECT_DOUBLE_EQ(load.rate_at(12500ms), 150);
  EXPECT_DOUBLE_EQ(load.rate_at(15s), 1000);
  EXPECT_DOUBLE_EQ(load.rate_at(30s), 300);
  EXPECT_GE(load.highest_rate(), 1100);
}

}  // namespace
}  // namespace penstock::simulate
