#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <thread>

#include "penstock/v1/admin.grpc.pb.h"
#include "penstock/v1/agent.grpc.pb.h"
#include "proto/errors/error.h"
#include "tests/integration/controller/controller_process.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using errors::Reason;

// A node's end of the channel, spoken by hand.
class Node {
 public:
  explicit Node(const std::shared_ptr<grpc::Channel>& channel) : stub_(v1::AgentService::NewStub(channel)) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stream_ = stub_->Connect(&context_);
  }
  ~Node() {
    context_.TryCancel();
    if (!finished_) finish();
  }

  // `applied_version`: of a process that has been pushed to before.
  void hello(const std::string& service, const std::string& name, std::uint64_t applied_version = 0) {
    v1::AgentMessage message;
    message.mutable_hello()->set_service(service);
    message.mutable_hello()->set_node(name);
    message.mutable_hello()->set_version("test");
    message.mutable_hello()->set_applied_version(applied_version);
    stream_->Write(message);
  }
  std::optional<v1::Push> push() {
    v1::ControllerMessage message;
    if (!stream_->Read(&message)) return std::nullopt;
    return message.push();
  }
  void acknowledge(const v1::Push& push, std::optional<errors::Error> refusal = std::nullopt) {
    v1::AgentMessage message;
    message.mutable_ack()->set_version(push.version());
    message.mutable_ack()->set_nonce(push.nonce());
    if (refusal) *message.mutable_ack()->mutable_error() = errors::to_rpc(*refusal);
    stream_->Write(message);
  }
  void send(const v1::AgentMessage& message) { stream_->Write(message); }
  grpc::Status finish() {
    finished_ = true;
    v1::ControllerMessage ignored;
    while (stream_->Read(&ignored)) {
    }
    return stream_->Finish();
  }
  // What the stream ended with, by the controller's own will.
  Reason refused() {
    const auto status = finish();
    const auto error = errors::from_grpc(status);
    EXPECT_TRUE(error.has_value()) << status.error_code() << " " << status.error_message();
    return error ? error->reason : Reason::internal;
  }

 private:
  std::unique_ptr<v1::AgentService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::ControllerMessage>> stream_;
  bool finished_ = false;
};

class ControllerWithAPolicy : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(apply(1000).ok()); }

  grpc::Status apply(int max) {
    v1::ApplyPolicyRequest request;
    request.mutable_policy()->mutable_metadata()->set_name("shop");
    auto* spec = request.mutable_policy()->mutable_spec();
    spec->set_service("shop");
    auto* pool = spec->add_pools();
    pool->set_name("default");
    pool->set_max(max);
    auto* upstream = spec->add_upstreams();
    upstream->set_name("payments");
    upstream->mutable_match()->add_hosts("pay.example.com");
    v1::ApplyPolicyResponse response;
    grpc::ClientContext context;
    return admin_->ApplyPolicy(&context, request, &response);
  }
  std::optional<v1::Node> node(const std::string& name) {
    v1::ListNodesResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(admin_->ListNodes(&context, v1::ListNodesRequest(), &response).ok());
    for (const auto& node : response.nodes())
      if (node.name() == name) return node;
    return std::nullopt;
  }
  // Asks again until it holds or ten seconds have passed.
  static bool eventually(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  TemporaryDirectory directory_;
  ControllerProcess controller_{directory_.path(), {"--lease-ttl", "1s"}};
  std::unique_ptr<v1::AdminService::Stub> admin_ = v1::AdminService::NewStub(controller_.channel());
};

TEST_F(ControllerWithAPolicy, PushesThePolicyThenOnlyChangesAndRenewals) {
  Node node(controller_.channel());
  node.hello("shop", "a");
  const auto full = node.push();
  ASSERT_TRUE(full.has_value());
  EXPECT_EQ(full->policy().metadata().revision(), 1);
  EXPECT_EQ(full->epoch(), 1u);
  EXPECT_EQ(full->ttl().seconds(), 1);
  ASSERT_TRUE(full->has_drain());
  EXPECT_FALSE(full->drain());
  node.acknowledge(*full);
  const auto renewal = node.push();
  ASSERT_TRUE(renewal.has_value());
  EXPECT_FALSE(renewal->has_policy());
  EXPECT_NE(renewal->nonce(), full->nonce());
  node.acknowledge(*renewal);

  ASSERT_TRUE(apply(2000).ok());
  std::optional<v1::Push> change = node.push();
  while (change && !change->has_policy()) {
    node.acknowledge(*change);
    change = node.push();
  }
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->policy().metadata().revision(), 2);
  EXPECT_GT(change->version(), full->version());
  EXPECT_FALSE(change->has_drain());
  node.acknowledge(*change);
  EXPECT_TRUE(eventually([&] { return this->node("a")->policy_revision() == 2; }));
  EXPECT_TRUE(this->node("a")->connected());
  EXPECT_GT(this->node("a")->lease().seconds() + this->node("a")->lease().nanos(), 0);
}

TEST_F(ControllerWithAPolicy, OverridesReachTheNodeAndAreTakenBack) {
  Node node(controller_.channel());
  node.hello("shop", "a");
  auto push = node.push();
  ASSERT_TRUE(push.has_value());
  node.acknowledge(*push);

  v1::SetPoolLimitRequest request;
  request.set_pool("default");
  request.set_limit(77);
  request.mutable_ttl()->set_seconds(2);
  request.set_reason("test");
  v1::Override imposed;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(admin_->SetPoolLimit(&context, request, &imposed).ok());
  }
  do {
    push = node.push();
    ASSERT_TRUE(push.has_value());
    node.acknowledge(*push);
  } while (push->pools_size() == 0);
  EXPECT_EQ(push->pools(0).limit(), 77);
  // It ends by itself after its ttl.
  do {
    push = node.push();
    ASSERT_TRUE(push.has_value());
    node.acknowledge(*push);
  } while (push->pools_size() == 0);
  EXPECT_NE(push->pools(0).limit(), 77);
}

TEST_F(ControllerWithAPolicy, RefusesWhoDoesNotSayHello) {
  Node silent(controller_.channel());
  v1::AgentMessage counters;
  counters.mutable_counters();
  silent.send(counters);
  EXPECT_EQ(silent.refused(), Reason::hello_invalid);
  Node nameless(controller_.channel());
  nameless.hello("shop", "");
  EXPECT_EQ(nameless.refused(), Reason::hello_invalid);
  Node twice(controller_.channel());
  twice.hello("shop", "a");
  twice.hello("shop", "a");
  EXPECT_EQ(twice.refused(), Reason::hello_invalid);
}

TEST_F(ControllerWithAPolicy, RefusesUnknownServices) {
  Node stranger(controller_.channel());
  stranger.hello("warehouse", "a");
  EXPECT_EQ(stranger.refused(), Reason::service_unknown);
  EXPECT_FALSE(node("a").has_value());
}

TEST_F(ControllerWithAPolicy, RefusesReplayedAndInventedAnswers) {
  Node replaying(controller_.channel());
  replaying.hello("shop", "a");
  const auto push = replaying.push();
  ASSERT_TRUE(push.has_value());
  replaying.acknowledge(*push);
  replaying.acknowledge(*push);
  EXPECT_EQ(replaying.refused(), Reason::nonce_replayed);

  Node inventing(controller_.channel());
  inventing.hello("shop", "a");
  auto invented = inventing.push();
  ASSERT_TRUE(invented.has_value());
  invented->set_version(invented->version() + 5);
  inventing.acknowledge(*invented);
  EXPECT_EQ(inventing.refused(), Reason::argument_invalid);
}

TEST_F(ControllerWithAPolicy, SecondStreamOfANodeReplacesTheFirst) {
  Node first(controller_.channel());
  first.hello("shop", "a");
  const auto push = first.push();
  ASSERT_TRUE(push.has_value());
  Node second(controller_.channel());
  second.hello("shop", "a", push->version());
  ASSERT_TRUE(second.push().has_value());
  EXPECT_EQ(first.finish().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_TRUE(node("a")->connected());
}

TEST_F(ControllerWithAPolicy, ShowsWhatANodeRefused) {
  Node node(controller_.channel());
  node.hello("shop", "a");
  const auto push = node.push();
  ASSERT_TRUE(push.has_value());
  node.acknowledge(*push, errors::Error{.reason = Reason::epoch_stale, .message = "epoch 1 is older than 7"});
  EXPECT_TRUE(eventually([&] { return !this->node("a")->refusal().empty(); }));
  EXPECT_EQ(this->node("a")->refusal(), "EPOCH_STALE: epoch 1 is older than 7");
  EXPECT_EQ(this->node("a")->policy_revision(), 0);
}

TEST_F(ControllerWithAPolicy, CountersBecomeRatesAndTransitionsBecomeDecisions) {
  Node node(controller_.channel());
  node.hello("shop", "a");
  const auto push = node.push();
  ASSERT_TRUE(push.has_value());
  node.acknowledge(*push);
  v1::AgentMessage message;
  auto* counters = message.mutable_counters();
  counters->mutable_uptime()->set_seconds(100);
  counters->mutable_lease()->set_seconds(1);
  auto* upstream = counters->add_upstreams();
  upstream->set_upstream("payments");
  upstream->set_attempts(1000);
  upstream->set_ok(900);
  upstream->set_breaker(v1::BREAKER_STATE_CLOSED);
  node.send(message);
  counters->mutable_uptime()->set_seconds(102);
  upstream->set_attempts(1100);
  upstream->set_ok(950);
  upstream->mutable_latency()->set_seconds(5);
  upstream->set_breaker(v1::BREAKER_STATE_OPEN);
  auto* transition = counters->add_transitions();
  transition->set_upstream("payments");
  transition->set_from(v1::BREAKER_STATE_CLOSED);
  transition->set_to(v1::BREAKER_STATE_OPEN);
  transition->set_reason("usefulness: 0.01 below 0.05");
  node.send(message);

  v1::ListUpstreamsResponse response;
  ASSERT_TRUE(eventually([&] {
    grpc::ClientContext context;
    return admin_->ListUpstreams(&context, v1::ListUpstreamsRequest(), &response).ok() &&
           response.upstreams_size() == 1 && response.upstreams(0).nodes_open() == 1;
  }));
  EXPECT_DOUBLE_EQ(response.upstreams(0).attempts_per_second(), 50);
  EXPECT_DOUBLE_EQ(response.upstreams(0).ok_per_second(), 25);
  EXPECT_EQ(response.upstreams(0).latency().nanos(), 100'000'000);

  v1::ListDecisionsRequest list;
  list.set_kind("upstream");
  v1::ListDecisionsResponse decisions;
  grpc::ClientContext context;
  ASSERT_TRUE(admin_->ListDecisions(&context, list, &decisions).ok());
  ASSERT_GE(decisions.decisions_size(), 1);
  EXPECT_EQ(decisions.decisions(0).action(), "trip");
  EXPECT_EQ(decisions.decisions(0).reason(), "usefulness");
  EXPECT_EQ(decisions.decisions(0).message(), "0.01 below 0.05");
  EXPECT_EQ(decisions.decisions(0).node(), "a");
}

TEST_F(ControllerWithAPolicy, RestartBeginsANewEpochWithTheSamePolicy) {
  controller_.end(SIGKILL);
  ControllerProcess restarted(directory_.path());
  Node node(restarted.channel());
  node.hello("shop", "a");
  const auto push = node.push();
  ASSERT_TRUE(push.has_value());
  EXPECT_EQ(push->epoch(), 2u);
  EXPECT_EQ(push->policy().metadata().revision(), 1);
}

TEST_F(ControllerWithAPolicy, StopsCleanlyWhileNodesAreConnected) {
  Node node(controller_.channel());
  node.hello("shop", "a");
  ASSERT_TRUE(node.push().has_value());
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(controller_.end(SIGTERM), 0) << controller_.log();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
  EXPECT_EQ(node.finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace penstock::controller
