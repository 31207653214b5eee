#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>

#include "tests/integration/agent/shop_node.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock {
namespace {

using controller::ControllerProcess;
using std::chrono::seconds;

v1::Policy shop(int fallback) {
  v1::Policy policy;
  policy.mutable_metadata()->set_name("shop");
  policy.mutable_spec()->set_service("shop");
  v1::Pool& pool = *policy.mutable_spec()->add_pools();
  pool.set_name("default");
  pool.set_fallback_limit(fallback);
  return policy;
}

// A controller whose leases last two seconds; its address does not change when it is started again.
class ShortLeases : public testing::Test {
 protected:
  void start() {
    controller_ =
        std::make_unique<ControllerProcess>(directory_.path(), std::vector<std::string>{"--lease-ttl", "2s"}, address_);
    address_ = controller_->grpc();
  }
  controller::TemporaryDirectory directory_;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<ControllerProcess> controller_;
};

TEST_F(ShortLeases, NodeJoinsTakesThePolicyAndIsUnderTheOperatorsHand) {
  start();
  Operator hand(*controller_);
  ASSERT_EQ(hand.apply(shop(640)), "");
  ShopNode node(address_);
  ASSERT_TRUE(eventually([&] { return node.agent().status().policy_revision == 1; }))
      << node.agent().status().disconnect;
  EXPECT_EQ(node.limit(), 640);
  EXPECT_GT(node.agent().status().lease, Duration{});
  ASSERT_EQ(hand.set_limit(123), "");
  EXPECT_TRUE(eventually([&] { return node.limit() == 123; }));
  ASSERT_EQ(hand.apply(shop(641)), "");
  EXPECT_TRUE(eventually([&] { return node.agent().status().policy_revision == 2; }));
  EXPECT_EQ(node.limit(), 123);
  EXPECT_THAT(node.runtime().metrics().text(), testing::HasSubstr("penstock_node_policy_revision 2"));
}

TEST_F(ShortLeases, LossOfTheControllerIsInvisibleUntilTheLeaseEndsAndThenTheFallbackGoverns) {
  start();
  Operator hand(*controller_);
  ASSERT_EQ(hand.apply(shop(640)), "");
  ASSERT_EQ(hand.set_limit(123), "");
  ShopNode node(address_);
  ASSERT_TRUE(eventually([&] { return node.limit() == 123; }));

  controller_->end(SIGKILL);
  ASSERT_TRUE(eventually([&] { return !node.agent().status().connected; }));
  if (node.agent().status().lease > std::chrono::milliseconds(500)) EXPECT_EQ(node.limit(), 123);
  EXPECT_TRUE(eventually([&] { return node.agent().status().lease == Duration{} && node.limit() == 640; }));
  EXPECT_EQ(node.agent().status().policy_revision, 1);

  const auto epoch = node.agent().status().epoch;
  start();
  EXPECT_TRUE(eventually([&] { return node.agent().status().connected && node.limit() == 123; }, seconds(10)))
      << node.agent().status().disconnect;
  EXPECT_GT(node.agent().status().epoch, epoch);
}

TEST_F(ShortLeases, HungControllerLosesTheNodeAndGetsItBack) {
  start();
  Operator hand(*controller_);
  ASSERT_EQ(hand.apply(shop(640)), "");
  ASSERT_EQ(hand.set_limit(123), "");
  ShopNode node(address_);
  ASSERT_TRUE(eventually([&] { return node.limit() == 123; }));
  ::kill(controller_->pid(), SIGSTOP);
  EXPECT_TRUE(eventually([&] { return node.limit() == 640; }));
  ::kill(controller_->pid(), SIGCONT);
  EXPECT_TRUE(eventually([&] { return node.limit() == 123; }, seconds(20)));
}

TEST_F(ShortLeases, NodeOfAnUnknownServiceIsRefusedWithAReasonAndTakenOnceThereIsAPolicy) {
  start();
  ShopNode node(address_);
  ASSERT_TRUE(eventually([&] { return !node.agent().status().disconnect.empty(); }));
  EXPECT_THAT(node.agent().status().disconnect, testing::HasSubstr("no policy governs service shop"));
  Operator hand(*controller_);
  ASSERT_EQ(hand.apply(shop(640)), "");
  EXPECT_TRUE(eventually([&] { return node.agent().status().connected; }, seconds(10)));
}

}  // namespace
}  // namespace penstock
