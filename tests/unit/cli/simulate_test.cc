#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/cli/invocation.h"

namespace penstock::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class SimulateTest : public testing::Test {
 protected:
  ~SimulateTest() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(folder_);
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("simulate-" + std::to_string(getpid()));
  const std::string brief_ = write("brief.yaml",
                                   "kind: Scenario\nname: brief\nabout: Ten seconds.\nduration: 10s\n"
                                   "measure: {from: 1s, to: 9s}\n");
};

TEST_F(SimulateTest, RowsAreData) {
  const Invocation json =
      invoke({"simulate", "--scenario", brief_, "--rivals", "unlimited", "--seeds", "2", "-o", "json"});
  EXPECT_EQ(json.exit_code, kOk);
  EXPECT_THAT(json.err, IsEmpty());
  EXPECT_THAT(json.out,
              StartsWith("[\n {\"scenario\": \"brief\", \"policy\": \"penstock\", \"seed\": 1, \"goodput\": 1,"));
  EXPECT_THAT(json.out, AllOf(HasSubstr("\"policy\": \"unlimited\", \"seed\": 2"), HasSubstr("\"verdicts\": []")));
  EXPECT_EQ(invoke({"simulate", "--scenario", brief_, "--rivals", "unlimited", "--seeds", "2", "-o", "json"}).out,
            json.out);
  const Invocation csv = invoke({"simulate", "--scenario", brief_, "--seeds", "1", "-o", "csv"});
  EXPECT_THAT(csv.out, StartsWith("scenario,policy,seed,goodput,"));
  EXPECT_THAT(csv.out, HasSubstr("\nbrief,penstock,1,1,"));
  const Invocation page = invoke({"simulate", "--scenario", brief_, "--seeds", "1", "-o", "html"});
  EXPECT_THAT(page.out, AllOf(StartsWith("<!doctype html>"), HasSubstr("<path "), HasSubstr("Ten seconds."),
                              testing::EndsWith("</html>\n")));
  EXPECT_THAT(page.out, testing::Not(HasSubstr("http")));
  const Invocation table = invoke({"simulate", "--scenario", brief_, "--seeds", "1"});
  EXPECT_THAT(table.out, AllOf(StartsWith("SCENARIO"), HasSubstr("penstock")));
}

TEST_F(SimulateTest, WhatThereIsNotIsNamed) {
  const Invocation scenario = invoke({"simulate", "--scenario", "blackole"});
  EXPECT_EQ(scenario.exit_code, kUsage);
  EXPECT_THAT(scenario.err, HasSubstr("did you mean blackhole?"));
}

TEST_F(SimulateTest, ASeedIsNoNegativeNumber) {
  const Invocation seed = invoke({"simulate", "--scenario", "normal", "--first-seed", "-1"});
  EXPECT_EQ(seed.exit_code, kUsage);
  EXPECT_THAT(seed.err, testing::HasSubstr("--first-seed"));
}

TEST_F(SimulateTest, WrongScenariosAreRefusedWithTheirPlace) {
  const std::string file = write("wrong.yaml", "kind: Scenario\nname: wrong\nabout: Wrong.\nnodes: {coun: 3}\n");
  const Invocation refused = invoke({"simulate", "--scenario", file});
  EXPECT_EQ(refused.exit_code, kInvalidPolicy);
  EXPECT_THAT(refused.err, HasSubstr("wrong.yaml:4:9: nodes.coun: unknown field (did you mean count?)"));
}

TEST_F(SimulateTest, AnOperatorsPolicyTakesThePlaceOfTheScenarios) {
  const std::string policy = write("policy.yaml",
                                   "kind: Policy\nmetadata: {name: shop}\nspec:\n  service: shop\n"
                                   "  pools: [{name: default, min: 1, max: 2, queue: {max: 0}}]\n");
  const Invocation tight = invoke({"simulate", "-f", policy, "--scenario", brief_, "--seeds", "1", "-o", "json"});
  EXPECT_EQ(tight.exit_code, kOk);
  // Two requests at a time are too few for 300 a second.
  EXPECT_THAT(tight.out, testing::Not(HasSubstr("\"goodput\": 1,")));
  EXPECT_THAT(tight.err, HasSubstr("the policy names no upstream \"A\""));
}

TEST_F(SimulateTest, RandomScenariosAreDrawnShownAndRunAgain) {
  const Invocation shown = invoke({"simulate", "--scenario", "random:7", "--show"});
  EXPECT_THAT(shown.out, HasSubstr("\nname: random-7\n"));
  const std::string file = write("seven.yaml", shown.out);
  const Invocation drawn = invoke({"simulate", "--scenario", "random:7", "--seeds", "1", "-o", "csv"});
  EXPECT_EQ(drawn.exit_code, kOk);
  EXPECT_EQ(invoke({"simulate", "--scenario", file, "--seeds", "1", "-o", "csv"}).out, drawn.out);
  for (const char* wrong : {"random:", "random:x", "random:5-3", "random:1-2-3"}) {
    EXPECT_EQ(invoke({"simulate", "--scenario", wrong}).exit_code, kUsage) << wrong;
  }
}

TEST_F(SimulateTest, ScenariosAreListedAndExplained) {
  EXPECT_THAT(invoke({"simulate", "--list"}).out, AllOf(HasSubstr("blackhole"), HasSubstr("threads-640")));
  EXPECT_THAT(invoke({"explain", "scenario"}).out, HasSubstr("upstreams"));
  EXPECT_THAT(invoke({"explain", "scenario.upstreams.episodes.latency"}).out, HasSubstr("Median."));
}

}  // namespace
}  // namespace penstock::cli
