#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "controller/service/admin.h"
#include "controller/store/store.h"
#include "tests/unit/controller/manual_clock.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using testing::HasSubstr;
using testing::Not;

// A service that one policy governs and another one, in SHADOW, watches.
class Watched : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open(directory_.path(), clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
    log_ = std::make_unique<DecisionLog>(*store_, clock_, std::chrono::hours(1));
    admin_ = std::make_unique<Admin>(*store_, *log_, fleet_, clock_, "1");
    auto next = make("shop-next");
    next->mutable_spec()->set_mode(v1::POLICY_MODE_SHADOW);
    fleet_.set_policy(next);
    fleet_.set_policy(make("shop"));
  }
  static std::shared_ptr<v1::Policy> make(const std::string& name) {
    auto policy = std::make_shared<v1::Policy>();
    policy->mutable_metadata()->set_name(name);
    policy->mutable_spec()->set_service("shop");
    policy->mutable_spec()->add_pools()->set_name("default");
    policy->mutable_spec()->add_upstreams()->set_name("A");
    return policy;
  }
  void log(const std::string& policy, const std::string& kind, const std::string& action, const std::string& message) {
    v1::Decision decision;
    decision.set_kind(kind);
    decision.set_name(kind == "pool" ? "default" : "A");
    decision.set_service("shop");
    decision.set_node("n1");
    decision.set_policy(policy);
    decision.set_action(action);
    decision.set_message(message);
    decision.set_shadow(policy == "shop-next");
    log_->append(decision);
  }
  // All but the list of decisions.
  std::string explanation(const std::string& kind, bool past = false) {
    EXPECT_TRUE(log_->flush().ok());
    v1::WhyRequest request;
    request.set_kind(kind);
    request.set_name(kind == "pool" ? "default" : "A");
    if (past) request.mutable_at()->set_seconds(4'000'000'000);
    auto why = admin_->why(request);
    EXPECT_TRUE(why.ok()) << why.status();
    why->clear_decisions();
    return why->DebugString();
  }

  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<DecisionLog> log_;
  Fleet fleet_{clock_};
  std::unique_ptr<Admin> admin_;
};

TEST_F(Watched, WhatOnlyWatchesExplainsNothingThatIs) {
  log("shop", "pool", "resize", "what was done");
  // More than a page of what was not.
  for (int i = 0; i < 30; ++i) log("shop-next", "pool", "resize", "what was not done");
  EXPECT_THAT(explanation("pool"), HasSubstr("what was done"));
  EXPECT_THAT(explanation("pool"), Not(HasSubstr("what was not done")));

  log("shop", "upstream", "test", "what was done");
  log("shop-next", "upstream", "trip", "what was not done");
  for (bool past : {false, true}) {
    EXPECT_THAT(explanation("upstream", past), HasSubstr("what was done")) << past;
    EXPECT_THAT(explanation("upstream", past), Not(HasSubstr("what was not done"))) << past;
  }
}

TEST_F(Watched, WhatOnlyItNamesItExplains) {
  auto acts = make("shop");
  acts->mutable_spec()->clear_upstreams();
  fleet_.set_policy(acts);
  log("shop-next", "upstream", "test", "what would be done");
  EXPECT_THAT(explanation("upstream"), HasSubstr("what would be done"));
}

TEST_F(Watched, WhatGovernsAloneExplainsItself) {
  fleet_.remove_policy("shop");
  log("shop-next", "pool", "resize", "what would be done");
  EXPECT_THAT(explanation("pool"), HasSubstr("what would be done"));
}

}  // namespace
}  // namespace penstock::controller
