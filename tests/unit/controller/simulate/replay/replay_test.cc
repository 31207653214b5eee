#include "controller/simulate/replay/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <stdexcept>

namespace penstock::simulate {
namespace {

using testing::Contains;
using testing::HasSubstr;

constexpr double kStep = 5;
constexpr double kFrom = 1'700'000'000;
constexpr double kTo = kFrom + 600;

decision::Policy make_policy() {
  decision::Policy policy;
  policy.name = "next";
  policy.service = "shop";
  policy.pools.emplace_back();
  policy.pools.back().min = 10;
  decision::UpstreamPolicy& upstream = policy.upstreams.emplace_back();
  upstream.name = "A";
  upstream.timeout = std::chrono::seconds(5);
  return policy;
}

void record(Recording& recording, const std::string& signal, std::map<std::string, std::string> labels,
            const std::function<double(double)>& value) {
  Recorded& series = recording[signal].emplace_back();
  series.labels = std::move(labels);
  for (double t = kFrom; t <= kTo; t += kStep) series.points.emplace_back(t, value(t - kFrom));
}

// A pool with 100 requests a second of this latency.
Recording pool_recording(const std::function<double(double)>& latency) {
  Recording recording;
  const std::map<std::string, std::string> labels{{"node", "n1"}, {"pool", "default"}};
  record(recording, "pool_rate", labels, [](double) { return 100; });
  record(recording, "pool_latency", labels, latency);
  record(recording, "pool_in_flight", labels, [&](double t) { return 100 * latency(t); });
  record(recording, "pool_limit", labels, [](double) { return 1200; });
  return recording;
}

// Upstream A, 50 calls a second of `node`: so many of them in a second end by these outcomes, each after `seconds`.
void record_upstream(Recording& recording, const std::string& node, const std::function<double(double)>& ok,
                     const std::function<double(double)>& failed, const char* outcome,
                     const std::function<double(double)>& latency) {
  const auto sum = [](std::function<double(double)> of) {
    return [of = std::move(of)](double t) {
      double total = 0;
      for (double at = 0; at < t; at += kStep) total += of(at) * kStep;
      return total;
    };
  };
  const auto labels = [&](const char* name, const char* value) {
    return std::map<std::string, std::string>{{"node", node}, {"upstream", "A"}, {name, value}};
  };
  record(recording, "upstream_calls", labels("outcome", "ok"), sum(ok));
  record(recording, "upstream_calls", labels("outcome", outcome), sum(failed));
  record(recording, "upstream_seconds", labels("x", ""),
         sum([=](double t) { return (ok(t) + failed(t)) * latency(t); }));
  for (const char* le : {"0.1", "1", "2", "5", "+Inf"}) {
    const double edge = std::string(le) == "+Inf" ? 1e9 : std::atof(le);
    record(recording, "upstream_bucket", labels("le", le),
           sum([=](double t) { return latency(t) <= edge ? ok(t) + failed(t) : 0; }));
  }
  record(recording, "upstream_in_flight", labels("x", ""), [=](double t) { return (ok(t) + failed(t)) * latency(t); });
}

bool bad(double t) { return t >= 200 && t < 400; }

std::vector<v1::Decision> of_kind(const Replayed& replayed, const std::string& action) {
  std::vector<v1::Decision> found;
  for (const auto& decision : replayed.decisions)
    if (decision.action() == action) found.push_back(decision);
  return found;
}

TEST(Replay, PoolsFollowWhatWasRecordedAsTheControllerWouldHave) {
  // 100/s x 10 s + 2 x 100/s x 0.1 s = 1020, which 1200 is within the band of; then 1000 + 2 x 100 x 5 = 2000.
  const Replayed replayed =
      replay(make_policy(), pool_recording([](double t) { return bad(t) ? 5.0 : 0.1; }), kFrom, kTo, kStep);
  const auto resized = of_kind(replayed, "resize");
  ASSERT_GE(resized.size(), 2u);
  EXPECT_EQ(resized[0].evidence().fields().at("result").number_value(), 2000);
  EXPECT_NEAR(static_cast<double>(resized[0].time().seconds()), kFrom + 200, kStep);
  EXPECT_EQ(resized[0].node(), "n1");
  EXPECT_TRUE(resized[0].shadow());
  EXPECT_THAT(resized[0].formula(), HasSubstr("x headroom 2"));
  EXPECT_NEAR(resized.back().evidence().fields().at("result").number_value(), 1020, 160);
  EXPECT_EQ(replayed.pools, 1);
}

TEST(Replay, ErrorRuleOfThePolicyOpensOnRecordedErrors) {
  decision::Policy policy = make_policy();
  Recording recording;
  record_upstream(
      recording, "n1", [](double t) { return bad(t) ? 10 : 50; }, [](double t) { return bad(t) ? 40 : 0; }, "error",
      [](double) { return 0.05; });
  EXPECT_TRUE(of_kind(replay(policy, recording, kFrom, kTo, kStep), "trip").empty()) << "useful calls are left";
  policy.upstreams[0].breaker.error_ratio = 0.5;
  const auto trips = of_kind(replay(policy, recording, kFrom, kTo, kStep), "trip");
  ASSERT_FALSE(trips.empty());
  EXPECT_EQ(trips[0].reason(), "error_ratio");
  EXPECT_GE(trips[0].time().seconds(), kFrom + 200);
  EXPECT_LE(trips[0].time().seconds(), kFrom + 220);
  const auto closed = of_kind(replay(policy, recording, kFrom, kTo, kStep), "close");
  ASSERT_FALSE(closed.empty());
  EXPECT_LE(trips.back().time().seconds(), kFrom + 400);
  EXPECT_GE(closed.back().time().seconds(), trips.back().time().seconds());
  EXPECT_LE(closed.back().time().seconds(), kFrom + 420);
}

TEST(Replay, WhatNeverAnsweredInTimeWouldHaveBeenCutOff) {
  Recording recording;
  record_upstream(
      recording, "n1", [](double t) { return bad(t) ? 0 : 50; }, [](double t) { return bad(t) ? 50 : 0; }, "timeout",
      [](double t) { return bad(t) ? 5.0 : 0.05; });
  const auto trips = of_kind(replay(make_policy(), recording, kFrom, kTo, kStep), "trip");
  ASSERT_FALSE(trips.empty());
  EXPECT_EQ(trips[0].verdict(), "unidentified");
  EXPECT_EQ(trips[0].name() + "@" + trips[0].node(), "A@n1");
}

TEST(Replay, TellsWhenACauseWouldHaveBeenLookedForAndThatItsFindingIsNotKnown) {
  Recording recording;
  for (const char* node : {"n1", "n2"})
    record_upstream(
        recording, node, [](double t) { return bad(t) ? 25 : 50; }, [](double t) { return bad(t) ? 25 : 0; }, "timeout",
        [](double t) { return bad(t) ? 3.0 : 0.05; });
  const Replayed replayed = replay(make_policy(), recording, kFrom, kTo, kStep);
  const auto tests = of_kind(replayed, "test");
  ASSERT_FALSE(tests.empty());
  EXPECT_GE(tests[0].time().seconds(), kFrom + 200);
  EXPECT_LE(tests[0].time().seconds(), kFrom + 230);
  for (const auto& decision : tests) EXPECT_NE(decision.verdict(), "ours") << decision.message();
  EXPECT_THAT(replayed.unknown, Contains(HasSubstr("not what it would have found")));
}

TEST(Replay, ARestartIsNoNegativeTraffic) {
  Recording recording;
  record_upstream(
      recording, "n1", [](double) { return 50; }, [](double) { return 0; }, "error", [](double) { return 0.05; });
  for (auto& [signal, all] : recording)
    for (Recorded& series : all)
      for (auto& [time, value] : series.points)
        if (signal != "upstream_in_flight" && time >= kFrom + 300) value -= value * 300 / (time - kFrom);
  const Replayed replayed = replay(make_policy(), recording, kFrom, kTo, kStep);
  EXPECT_TRUE(of_kind(replayed, "trip").empty());
  EXPECT_TRUE(of_kind(replayed, "test").empty());
}

TEST(Replay, SaysWhatIsNotThere) {
  const Replayed replayed = replay(make_policy(), {}, kFrom, kTo, kStep);
  EXPECT_TRUE(replayed.decisions.empty());
  EXPECT_THAT(replayed.unknown, Contains(HasSubstr("no rate of any pool")));
  EXPECT_THAT(replayed.unknown, Contains(HasSubstr("no call to upstream A")));
}

TEST(Recording, AnswersOfPrometheusAreReadAndWhatIsNoneIsRefused) {
  const auto read =
      parse_range(R"({"status":"success","data":{"resultType":"matrix","result":[{"metric":{"node":"n1"},)"
                  R"("values":[[1.5,"2"],[6.5,"NaN"],[11.5,"3"]]}]}})");
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].label("node"), "n1");
  ASSERT_EQ(read[0].points.size(), 2u) << "what is no number is left out";
  EXPECT_DOUBLE_EQ(read[0].points[1].first, 11.5);
  for (const char* wrong : {"", "<html>", "[]", R"({"status":"error","error":"too much"})", R"({"data":{}})",
                            R"({"data":{"result":[{"metric":{},"value":[1,"2"]}]}})",
                            R"({"data":{"result":[{"metric":{},"values":[[1]]}]}})"})
    EXPECT_THROW(parse_range(wrong), std::runtime_error) << wrong;
}

TEST(Recording, NamesAreQuotedInQueries) {
  for (const auto& [name, query] : recording_queries("a\"b\\c", 20))
    EXPECT_THAT(query, HasSubstr("a\\\"b\\\\c")) << name;
}

}  // namespace
}  // namespace penstock::simulate
