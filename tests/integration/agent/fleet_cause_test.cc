#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>

#include "tests/integration/agent/calling_node.h"
#include "tests/integration/agent/shop_node.h"
#include "tests/unit/controller/temporary_directory.h"

// Real nodes, a real controller and a third party of finite capacity: the fleet finds out whose fault it is.
namespace penstock {
namespace {

using controller::ControllerProcess;
using std::chrono::milliseconds;
using std::chrono::seconds;

class CallingFleet : public testing::Test {
 protected:
  CallingFleet() {
    v1::Policy policy;
    policy.mutable_metadata()->set_name("shop");
    policy.mutable_spec()->set_service("shop");
    v1::Upstream& upstream = *policy.mutable_spec()->add_upstreams();
    upstream.set_name("A");
    upstream.mutable_match()->add_hosts(third_party_.address());
    EXPECT_EQ(hand_.apply(policy), "");
    for (const char* name : {"n1", "n2"})
      nodes_.push_back(std::make_unique<CallingNode>(controller_->grpc(), name, third_party_.address()));
  }
  bool both(const std::function<bool(const Runtime::UpstreamStats&)>& condition) {
    return condition(nodes_[0]->stats()) && condition(nodes_[1]->stats());
  }

  controller::TemporaryDirectory directory_;
  ThirdParty third_party_;
  std::unique_ptr<ControllerProcess> controller_ =
      std::make_unique<ControllerProcess>(directory_.path(), std::vector<std::string>{"--prometheus", ""});
  Operator hand_{*controller_};
  std::vector<std::unique_ptr<CallingNode>> nodes_;
};

TEST_F(CallingFleet, FindsThatItAsksForTooMuchAndSharesWhatThereIs) {
  ASSERT_TRUE(eventually([&] { return both([](const auto& s) { return s.fleet_leads && s.ok > 600; }); }, seconds(60)))
      << controller_->log();
  // 120 calls a second want to go; half of that is what it can do.
  third_party_.capacity = 3;
  v1::Decision verdict;
  const auto guilty = [&] {
    const auto all = hand_.decisions("upstream");
    for (const auto& decision : all.decisions()) {
      if (decision.verdict() != "ours" || !decision.node().empty()) continue;
      verdict = decision;
      return true;
    }
    return false;
  };
  ASSERT_TRUE(eventually(guilty, seconds(60))) << controller_->log();
  EXPECT_FALSE(verdict.shadow());
  EXPECT_EQ(verdict.action(), "test");
  EXPECT_EQ(verdict.evidence().fields().at("nodes").number_value(), 2);
  EXPECT_TRUE(eventually([&] { return both([](const auto& s) { return s.bound_by == "directive"; }); }));
  const v1::WhyResponse why = hand_.why("upstream", "A");
  EXPECT_THAT(why.DebugString(), testing::HasSubstr(verdict.formula()));
  EXPECT_THAT(why.summary(), testing::HasSubstr("slow because of the load that we put on it"));
  EXPECT_THAT(why.steps(), testing::Contains(testing::HasSubstr("fleet of 2 nodes")));
  EXPECT_FALSE(why.would_change().empty());

  // The controller is killed and comes back, knowing nothing of the test: the nodes go on from its verdict.
  const std::string address = controller_->grpc();
  controller_->end(SIGKILL);
  controller_ =
      std::make_unique<ControllerProcess>(directory_.path(), std::vector<std::string>{"--prometheus", ""}, address);
  const auto by_themselves = [](const auto& s) { return !s.fleet_leads && s.bound_by == "cause"; };
  EXPECT_TRUE(eventually([&] { return both(by_themselves); })) << controller_->log();

  // It is gone for good: so they do when the lease has ended.
  controller_->end(SIGKILL);
  EXPECT_TRUE(eventually(
      [&] { return both([](const auto& s) { return !s.fleet_leads && s.bound_by != "directive"; }); }, seconds(30)));
  const int before = nodes_[0]->answered;
  EXPECT_TRUE(eventually([&] { return nodes_[0]->answered > before + 50; }));
}

}  // namespace
}  // namespace penstock
