#include "controller/loop/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "controller/store/store.h"
#include "penstock/runtime.h"
#include "tests/unit/controller/manual_clock.h"
#include "tests/unit/controller/temporary_directory.h"
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

TEST_F(LoopMetrics, WhatANodeMadeUpIsNoLabel) {
  log_.append(decision("trip", "a sentence, or card 4111"));
  const std::string text = scraped("reason=\"other\"");
  EXPECT_THAT(text, Not(HasSubstr("4111")));
}

}  // namespace
}  // namespace penstock::controller
