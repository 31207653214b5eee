#include "controller/loop/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>

#include "controller/store/store.h"
#include "penstock/runtime.h"
#include "tests/unit/controller/manual_clock.h"
#include "tests/unit/controller/temporary_directory.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/eventually.h"

namespace penstock::controller {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// What the dashboards make annotations and rates of: every entry of the log, whoever decided.
class LoopMetrics : public testing::Test {
 protected:
  static v1::Decision decision(const std::string& action, const std::string& reason) {
    v1::Decision decision;
    decision.set_kind("upstream");
    decision.set_name("A");
    decision.set_service("shop");
    decision.set_node("shop-1");
    decision.set_action(action);
    decision.set_reason(reason);
    return decision;
  }
  // What is scraped once the log has told of it all.
  std::string scraped(const std::string& awaited) {
    std::string text;
    EXPECT_TRUE(eventually([&] {
      text = runtime_.metrics().text();
      return text.find(awaited) != std::string::npos;
    })) << text;
    return text;
  }

  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<Store> store_ = *Store::open(directory_.path(), clock_);
  DecisionLog log_{*store_, clock_, std::chrono::hours(24)};
  Fleet fleet_{clock_};
  Runtime runtime_{RuntimeOptions{.service = "controller", .threads = 1}};
  http::Client client_{runtime_};
  PrometheusReader prometheus_{client_, {"http://127.0.0.1:1"}, runtime_.metrics()};
  SignalReader signals_{prometheus_, std::chrono::seconds(1)};
  Loop loop_{fleet_, log_, signals_, clock_, runtime_.metrics(), {}};
};

TEST_F(LoopMetrics, WhatANodeDecidedIsAnAnnotationWithVerdictAndTime) {
  v1::Decision trip = decision("trip", "usefulness");
  trip.set_verdict("unidentified");
  trip.mutable_time()->set_seconds(1'700'000'000);
  log_.append(trip);
  v1::Decision test = decision("test", "free");
  test.set_verdict("theirs");
  test.set_shadow(true);
  test.mutable_time()->set_seconds(1'700'000'007);
  log_.append(test);
  const std::string text = scraped("verdict=\"theirs\"");
  EXPECT_THAT(text, HasSubstr("penstock_controller_decision_time_seconds{action=\"trip\",kind=\"upstream\",name=\"A\","
                              "service=\"shop\",shadow=\"false\",verdict=\"unidentified\"} 1700000000"));
  EXPECT_THAT(text, HasSubstr("penstock_controller_decision_time_seconds{action=\"test\",kind=\"upstream\",name=\"A\","
                              "service=\"shop\",shadow=\"true\",verdict=\"theirs\"} 1700000007"));
}

TEST_F(LoopMetrics, NodesThatComeAndLimitsThatAreHeldAreNone) {
  log_.append(decision("join", "hello"));
  log_.append(decision("hold", "steady"));
  log_.append(decision("trip", "usefulness"));
  const std::string text = scraped("action=\"trip\"");
  EXPECT_THAT(text, AllOf(HasSubstr("penstock_controller_decisions_total{action=\"join\""),
                          HasSubstr("penstock_controller_decisions_total{action=\"hold\""),
                          Not(HasSubstr("decision_time_seconds{action=\"join\"")),
                          Not(HasSubstr("decision_time_seconds{action=\"hold\""))));
}

// Not answers that come and are of no use, either: a login page, what was cut off.
TEST(LoopLog, SaysOnceThatPrometheusAnswersNothingUsableAndOnceThatItDoesAgain) {
  const CapturedLog log;
  TemporaryDirectory directory;
  ManualClock clock;
  const std::unique_ptr<Store> store = *Store::open(directory.path(), clock);
  DecisionLog decisions(*store, clock, std::chrono::hours(24));
  Fleet fleet(clock);
  Runtime runtime(RuntimeOptions{.service = "controller", .threads = 1});
  http::Client client(runtime);
  http::Server server(runtime, {.port = 0, .serve_metrics = false, .admission = false});
  std::string answer;
  server.route("POST", "/api/v1/query", [&](const http::Request&) { return http::Response::html(answer); });
  const std::string url = "http://" + server.address();
  PrometheusReader prometheus(client, {url}, runtime.metrics());
  SignalReader signals(prometheus, std::chrono::seconds(1));
  Loop loop(fleet, decisions, signals, clock, runtime.metrics(), {});
  std::thread thread([&] { runtime.run(); });
  const auto turns_with = [&](const char* text) {
    std::promise<void> done;
    runtime.spawn("test", [&] {
      answer = text;
      for (int i = 0; i < 3; ++i) loop.turn();
      done.set_value();
    });
    done.get_future().wait();
  };
  constexpr const char* kNothing = R"({"status":"success","data":{"resultType":"vector","result":[]}})";
  turns_with(kNothing);
  EXPECT_EQ(log.count("\"signals\""), 0u) << log.text();
  turns_with("<html>please log in</html>");
  EXPECT_EQ(log.count("gives no usable answer"), 1u) << log.text();
  EXPECT_TRUE(log.has(url)) << log.text();
  EXPECT_TRUE(log.has("pool_rate")) << log.text();
  EXPECT_TRUE(log.has("please log in")) << log.text();
  turns_with("{\"status\":\"success\"}");
  EXPECT_EQ(log.count("gives no usable answer"), 2u) << log.text();
  turns_with(kNothing);
  EXPECT_EQ(log.count("gives no usable answer"), 2u) << log.text();
  EXPECT_EQ(log.count("answers again"), 1u) << log.text();
  runtime.stop();
  thread.join();
}

TEST_F(LoopMetrics, WhatANodeMadeUpIsNoLabel) {
  log_.append(decision("trip", "a sentence, or card 4111"));
  const std::string text = scraped("reason=\"other\"");
  EXPECT_THAT(text, Not(HasSubstr("4111")));
}

}  // namespace
}  // namespace penstock::controller
