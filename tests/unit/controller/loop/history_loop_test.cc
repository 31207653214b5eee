#include "controller/loop/history_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "controller/store/store.h"
#include "penstock/runtime.h"
#include "tests/unit/controller/manual_clock.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using testing::HasSubstr;

// A Prometheus that recorded 0.2 s of latency and 100 calls a second, ever since; and a controller that reads it.
class Recorded : public testing::Test {
 protected:
  Recorded() : server_(runtime_, {.port = 0, .serve_metrics = false, .admission = false}) {
    server_.route("POST", "/api/v1/query_range", [this](const http::Request& request) { return answer(request); });
    thread_ = std::thread([this] { runtime_.run(); });
    // 16:40.
    clock_.advance(minutes(1000) - std::chrono::seconds(1000));
  }
  ~Recorded() override {
    runtime_.stop();
    thread_.join();
  }

  static long field(const std::string& body, const std::string& name) {
    return std::stol(body.substr(body.find("&" + name + "=") + name.size() + 2));
  }
  http::Response answer(const http::Request& request) {
    const std::string body(request.body());
    if (!refusal_.empty()) return http::Response::text(refusal_, 503);
    if (!unasked_.empty())
      return http::Response::json(R"({"status":"success","data":{"resultType":"matrix","result":[{"metric":{)"
                                  R"("pool":"default","upstream":"A","service":"shop"},"values":)" +
                                  unasked_ + "}]}}");
    const bool pool = body.find("penstock_pool_requests_total") != std::string::npos;
    const bool busy = body.find("ok_seconds") != std::string::npos;
    std::string points;
    for (long at = field(body, "start"); at <= field(body, "end"); at += field(body, "step"))
      points +=
          (points.empty() ? "[" : ",[") + std::to_string(at) + ",\"" + std::to_string(busy ? rate_ / 5 : rate_) + "\"]";
    if (pool) spans_.push_back((field(body, "end") - field(body, "start")) / 3600 + 1);
    return http::Response::json(R"({"status":"success","data":{"resultType":"matrix","result":[{"metric":{)" +
                                std::string(pool ? R"("pool":"default")" : R"("upstream":"A")") +
                                R"(,"service":"shop"},"values":[)" + points + "]}]}}");
  }
  decision::Duration turn() {
    std::promise<decision::Duration> result;
    runtime_.spawn("test", [&] { result.set_value(loop_.turn()); });
    return result.get_future().get();
  }
  BaselineView upstream() {
    const auto all = fleet_.baselines();
    const auto found = all->upstreams.find({"shop", "A"});
    return found == all->upstreams.end() ? BaselineView{} : found->second;
  }

  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<Store> store_ = *Store::open(directory_.path(), clock_);
  DecisionLog log_{*store_, clock_, hours(24)};
  Fleet fleet_{clock_};
  Runtime runtime_{RuntimeOptions{.service = "controller", .threads = 1}};
  http::Client client_{runtime_};
  http::Server server_;
  PrometheusReader prometheus_{client_, {"http://" + server_.address()}, runtime_.metrics()};
  HistoryReader reader_{prometheus_};
  HistoryLoop loop_{fleet_, log_, reader_, clock_, runtime_.metrics(), {.lookback = hours(7 * 24)}};
  std::string refusal_;
  // Samples that are answered whatever was asked for.
  std::string unasked_;
  double rate_ = 100;
  std::vector<long> spans_;
  std::thread thread_;
};

TEST_F(Recorded, TheNewestDayComesFirstAndTellsAtOnce) {
  turn();
  EXPECT_EQ(spans_, std::vector<long>({24}));
  EXPECT_EQ(upstream().hours, 24);
  ASSERT_TRUE(upstream().expected);
  EXPECT_NEAR(upstream().expected->value, 0.2, 1e-9);
  EXPECT_FALSE(fleet_.baselines()->complete);
  for (int day = 1; day < 7; ++day) EXPECT_LT(turn(), std::chrono::seconds(1 + 60 * (day == 6)));
  EXPECT_TRUE(fleet_.baselines()->complete);
  EXPECT_EQ(upstream().hours, 7 * 24);
  EXPECT_EQ(fleet_.baselines()->pools.at({"shop", "default"}).rate, 100);
  // Each hour is read once it is over, and not before its last scrape is there.
  turn();
  EXPECT_EQ(spans_.size(), 7u);
  clock_.advance(minutes(20) + std::chrono::seconds(15));
  turn();
  EXPECT_EQ(spans_.size(), 7u);
  clock_.advance(std::chrono::seconds(10));
  turn();
  EXPECT_EQ(spans_.size(), 8u);
  EXPECT_EQ(spans_.back(), 1);
  EXPECT_EQ(upstream().hours, 7 * 24 + 1);
}

TEST_F(Recorded, TimesThatWereNotAskedForAreNoHours) {
  unasked_ = R"([[1e300,"7"],[-1e300,"7"],[9e18,"7"],[1e11,"7"],[4e9,"7"],[0,"7"]])";
  turn();
  EXPECT_EQ(upstream().hours, 0);
  unasked_.clear();
  for (int day = 0; day < 7; ++day) turn();
  EXPECT_EQ(fleet_.baselines()->error, "");
  clock_.advance(hours(24));
  for (int day = 0; day < 2; ++day) turn();
  EXPECT_GE(upstream().hours, 24);
  ASSERT_TRUE(upstream().expected);
  EXPECT_NEAR(upstream().expected->value, 0.2, 1e-9);
}

TEST_F(Recorded, WhatFailsLeavesWhatIsKnownAndIsAskedForInSmallerParts) {
  turn();
  refusal_ = "too many samples";
  EXPECT_GE(turn(), std::chrono::seconds(10));
  EXPECT_EQ(upstream().hours, 24);
  EXPECT_NEAR(upstream().expected->value, 0.2, 1e-9);
  EXPECT_THAT(fleet_.baselines()->error, HasSubstr("too many samples"));
  const BaselineView view = upstream();
  EXPECT_THAT(describe_upstream_baseline(&view, *fleet_.baselines(), {}), HasSubstr("not read on: status"));
  for (int i = 0; i < 9; ++i) turn();
  refusal_.clear();
  spans_.clear();
  for (int i = 0; i < 5; ++i) turn();
  EXPECT_EQ(spans_, std::vector<long>({1, 2, 4, 8, 16}));
  EXPECT_EQ(fleet_.baselines()->error, "");
  EXPECT_EQ(upstream().hours, 24 + 31);
}

TEST_F(Recorded, AnOutageOfPrometheusIsMadeUpForInParts) {
  for (int day = 0; day < 7; ++day) turn();
  refusal_ = "gone";
  clock_.advance(hours(30));
  turn();
  refusal_.clear();
  spans_.clear();
  for (int i = 0; i < 4; ++i) turn();
  EXPECT_EQ(spans_, std::vector<long>({12, 18}));
  EXPECT_EQ(upstream().hours, 7 * 24 + 30);
}

TEST_F(Recorded, AnHourOfFewAnswersSaysNothingOfLatency) {
  const auto to = std::chrono::floor<hours>(clock_.wall());
  const auto read = [&] {
    std::promise<History> result;
    runtime_.spawn("test", [&] { result.set_value(reader_.read(to - hours(3), to)); });
    return result.get_future().get();
  };
  History history = read();
  ASSERT_EQ(history.upstreams.at({"shop", "A"}).size(), 3u);
  EXPECT_EQ(history.upstreams.at({"shop", "A"})[0].began, to - hours(3));
  EXPECT_EQ(history.upstreams.at({"shop", "A"})[0].rate, 100);
  EXPECT_EQ(history.pools.at({"shop", "default"}).back().began, to - hours(1));
  rate_ = 0.01;
  history = read();
  EXPECT_TRUE(history.upstreams.empty());
  EXPECT_EQ(history.pools.at({"shop", "default"}).back().rate, 0.01);
}

}  // namespace
}  // namespace penstock::controller
