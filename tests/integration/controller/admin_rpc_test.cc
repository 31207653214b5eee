#include <gmock/gmock.h>
#include <google/protobuf/empty.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <set>
#include <thread>

#include "penstock/v1/admin.grpc.pb.h"
#include "proto/errors/error.h"
#include "tests/integration/controller/controller_process.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using errors::Reason;
using testing::HasSubstr;

v1::Policy make_policy(const std::string& name, const std::string& service, int max = 1000) {
  v1::Policy policy;
  policy.mutable_metadata()->set_name(name);
  auto* spec = policy.mutable_spec();
  spec->set_service(service);
  auto* pool = spec->add_pools();
  pool->set_name("default");
  pool->set_max(max);
  auto* upstream = spec->add_upstreams();
  upstream->set_name("payments");
  upstream->mutable_match()->add_hosts("pay.example.com");
  return policy;
}

class RunningController : public testing::Test {
 protected:
  grpc::Status apply(const v1::Policy& policy, v1::ApplyPolicyResponse* response = nullptr) {
    v1::ApplyPolicyRequest request;
    *request.mutable_policy() = policy;
    return apply(request, response);
  }
  grpc::Status apply(const v1::ApplyPolicyRequest& request, v1::ApplyPolicyResponse* response = nullptr) {
    grpc::ClientContext context;
    v1::ApplyPolicyResponse ignored;
    return stub_->ApplyPolicy(&context, request, response != nullptr ? response : &ignored);
  }
  template <class Request, class Response>
  grpc::Status call(grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    return (stub_.get()->*method)(&context, request, response);
  }

  static Reason reason(const grpc::Status& status) {
    const auto error = errors::from_grpc(status);
    EXPECT_TRUE(error.has_value()) << status.error_code() << " " << status.error_message();
    return error ? error->reason : Reason::internal;
  }

  TemporaryDirectory directory_;
  ControllerProcess controller_{directory_.path()};
  std::unique_ptr<v1::AdminService::Stub> stub_ = v1::AdminService::NewStub(controller_.channel());
};

TEST_F(RunningController, TellsItsStatus) {
  v1::ControllerStatus status;
  const auto answered = call(&v1::AdminService::Stub::GetStatus, v1::GetStatusRequest(), &status);
  ASSERT_TRUE(answered.ok()) << answered.error_message();
  EXPECT_EQ(status.epoch(), 1u);
  EXPECT_FALSE(status.version().empty());
  EXPECT_EQ(status.nodes(), 0);
}

TEST_F(RunningController, SignalThatNeverHadAValueHasNoAge) {
  v1::ControllerStatus status;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (status.signals().empty() && std::chrono::steady_clock::now() < deadline)
    ASSERT_TRUE(call(&v1::AdminService::Stub::GetStatus, v1::GetStatusRequest(), &status).ok());
  ASSERT_FALSE(status.signals().empty());
  for (const auto& signal : status.signals()) EXPECT_FALSE(signal.has_age()) << signal.ShortDebugString();
}

TEST_F(RunningController, AppliesReadsAndRollsBack) {
  v1::ApplyPolicyResponse response;
  ASSERT_TRUE(apply(make_policy("shop", "shop", 1000), &response).ok());
  EXPECT_TRUE(response.changed());
  EXPECT_EQ(response.policy().metadata().revision(), 1);
  ASSERT_TRUE(apply(make_policy("shop", "shop", 1000), &response).ok());
  EXPECT_FALSE(response.changed());
  ASSERT_TRUE(apply(make_policy("shop", "shop", 2000), &response).ok());
  EXPECT_EQ(response.policy().metadata().revision(), 2);

  v1::RollbackPolicyRequest rollback;
  rollback.set_name("shop");
  rollback.set_to_revision(1);
  ASSERT_TRUE(call(&v1::AdminService::Stub::RollbackPolicy, rollback, &response).ok());
  EXPECT_EQ(response.policy().metadata().revision(), 3);
  EXPECT_EQ(response.policy().spec().pools(0).max(), 1000);

  v1::ListPolicyRevisionsRequest list;
  list.set_name("shop");
  list.set_page_size(2);
  v1::ListPolicyRevisionsResponse page;
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListPolicyRevisions, list, &page).ok());
  ASSERT_EQ(page.revisions_size(), 2);
  EXPECT_EQ(page.revisions(0).cause(), "rollback to 1");
  EXPECT_EQ(page.revisions(0).author(), "local");
  list.set_page_token(page.next_page_token());
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListPolicyRevisions, list, &page).ok());
  ASSERT_EQ(page.revisions_size(), 1);
  EXPECT_TRUE(page.next_page_token().empty());

  rollback.set_to_revision(9);
  EXPECT_EQ(reason(call(&v1::AdminService::Stub::RollbackPolicy, rollback, &response)), Reason::revision_not_found);
}

TEST_F(RunningController, NamesEveryWrongFieldAndChangesNothing) {
  v1::Policy policy = make_policy("shop", "shop", 1000);
  policy.mutable_spec()->mutable_pools(0)->set_min(2000);
  policy.mutable_spec()->mutable_upstreams(0)->mutable_breaker()->set_error_ratio(7);
  const auto status = apply(policy);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto error = errors::from_grpc(status);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->reason, Reason::policy_invalid);
  std::set<std::string> fields;
  for (const auto& violation : error->violations) fields.insert(violation.field);
  EXPECT_TRUE(fields.contains("spec.upstreams[0].breaker.error_ratio")) << testing::PrintToString(fields);
  v1::GetPolicyRequest get;
  get.set_name("shop");
  v1::Policy stored;
  EXPECT_EQ(reason(call(&v1::AdminService::Stub::GetPolicy, get, &stored)), Reason::policy_not_found);
}

TEST_F(RunningController, RefusesASecondPolicyForTheSameNodes) {
  ASSERT_TRUE(apply(make_policy("one", "shop")).ok());
  EXPECT_EQ(reason(apply(make_policy("two", "shop"))), Reason::policy_conflict);
  v1::Policy labelled = make_policy("two", "shop");
  (*labelled.mutable_spec()->mutable_node_labels())["zone"] = "a";
  EXPECT_EQ(reason(apply(labelled)), Reason::policy_conflict);
  v1::Policy first = make_policy("one", "shop");
  (*first.mutable_spec()->mutable_node_labels())["zone"] = "b";
  ASSERT_TRUE(apply(first).ok());
  EXPECT_TRUE(apply(labelled).ok());
}

TEST_F(RunningController, ValidateOnlyEtagAndRequestId) {
  v1::ApplyPolicyRequest request;
  *request.mutable_policy() = make_policy("shop", "shop");
  request.set_validate_only(true);
  v1::ApplyPolicyResponse response;
  ASSERT_TRUE(apply(request, &response).ok());
  EXPECT_TRUE(response.changed());
  request.set_validate_only(false);
  request.set_request_id("first");
  ASSERT_TRUE(apply(request, &response).ok());
  EXPECT_EQ(response.policy().metadata().revision(), 1);

  v1::ApplyPolicyResponse repeated;
  ASSERT_TRUE(apply(request, &repeated).ok());
  EXPECT_TRUE(repeated.changed()) << "a repeat answers the stored result";
  EXPECT_EQ(repeated.policy().metadata().etag(), response.policy().metadata().etag());
  request.mutable_policy()->mutable_spec()->mutable_pools(0)->set_max(5000);
  EXPECT_EQ(reason(apply(request)), Reason::request_id_reused);

  request.set_request_id("");
  request.set_etag("stale");
  const auto conflict = apply(request);
  EXPECT_EQ(conflict.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(reason(conflict), Reason::revision_conflict);
}

TEST_F(RunningController, UpdateMaskReplacesOnlyWhatItNames) {
  ASSERT_TRUE(apply(make_policy("shop", "shop", 1000)).ok());
  v1::ApplyPolicyRequest request;
  request.mutable_policy()->mutable_metadata()->set_name("shop");
  auto* pool = request.mutable_policy()->mutable_spec()->add_pools();
  pool->set_name("default");
  pool->set_max(3000);
  request.mutable_update_mask()->add_paths("pools");
  v1::ApplyPolicyResponse response;
  const auto status = apply(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.policy().spec().pools_size(), 1);
  EXPECT_EQ(response.policy().spec().pools(0).max(), 3000);
  EXPECT_EQ(response.policy().spec().service(), "shop");
  EXPECT_EQ(response.policy().spec().upstreams_size(), 1);
  request.mutable_update_mask()->add_paths("poools");
  EXPECT_EQ(reason(apply(request)), Reason::argument_invalid);
}

TEST_F(RunningController, OverridesAreLoggedListedAndSurviveARestart) {
  ASSERT_TRUE(apply(make_policy("shop", "shop")).ok());
  v1::SetBreakerRequest breaker;
  breaker.set_upstream("payments");
  breaker.set_breaker(v1::BREAKER_OVERRIDE_FORCE_OPEN);
  v1::Override imposed;
  EXPECT_EQ(reason(call(&v1::AdminService::Stub::SetBreaker, breaker, &imposed)), Reason::argument_invalid);
  breaker.set_reason("their deployment");
  EXPECT_EQ(reason(call(&v1::AdminService::Stub::SetBreaker, breaker, &imposed)), Reason::argument_invalid);
  breaker.mutable_ttl()->set_seconds(600);
  ASSERT_TRUE(call(&v1::AdminService::Stub::SetBreaker, breaker, &imposed).ok());
  EXPECT_EQ(imposed.value(), "open");
  EXPECT_EQ(imposed.author(), "local");
  breaker.set_upstream("nobody");
  EXPECT_EQ(reason(call(&v1::AdminService::Stub::SetBreaker, breaker, &imposed)), Reason::upstream_not_found);

  EXPECT_EQ(controller_.end(SIGTERM), 0);
  ControllerProcess restarted(directory_.path());
  stub_ = v1::AdminService::NewStub(restarted.channel());
  v1::ListUpstreamsResponse upstreams;
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListUpstreams, v1::ListUpstreamsRequest(), &upstreams).ok());
  ASSERT_EQ(upstreams.upstreams_size(), 1);
  EXPECT_EQ(upstreams.upstreams(0).override().reason(), "their deployment");

  v1::ListDecisionsRequest list;
  list.set_kind("upstream");
  v1::ListDecisionsResponse decisions;
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListDecisions, list, &decisions).ok());
  ASSERT_EQ(decisions.decisions_size(), 1);
  EXPECT_EQ(decisions.decisions(0).action(), "override");
  EXPECT_THAT(decisions.decisions(0).message(), HasSubstr("their deployment"));

  v1::WhyRequest why;
  why.set_kind("upstream");
  why.set_name("payments");
  v1::WhyResponse because;
  ASSERT_TRUE(call(&v1::AdminService::Stub::Why, why, &because).ok());
  EXPECT_THAT(because.summary(), HasSubstr("override by local"));

  breaker = {};
  breaker.set_upstream("payments");
  breaker.set_breaker(v1::BREAKER_OVERRIDE_AUTO);
  breaker.set_reason("they are back");
  ASSERT_TRUE(call(&v1::AdminService::Stub::SetBreaker, breaker, &imposed).ok());
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListUpstreams, v1::ListUpstreamsRequest(), &upstreams).ok());
  EXPECT_FALSE(upstreams.upstreams(0).has_override());
}

TEST_F(RunningController, WatchShowsOldAndNewDecisions) {
  ASSERT_TRUE(apply(make_policy("one", "one")).ok());
  ASSERT_TRUE(apply(make_policy("two", "two")).ok());
  v1::ListDecisionsRequest list;
  list.set_kind("policy");
  v1::ListDecisionsResponse listed;
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListDecisions, list, &listed).ok());
  ASSERT_EQ(listed.decisions_size(), 2);

  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::WatchDecisionsRequest watch;
  watch.set_kind("policy");
  watch.set_after_id(listed.decisions(1).id());
  const auto reader = stub_->WatchDecisions(&context, watch);
  v1::Decision decision;
  ASSERT_TRUE(reader->Read(&decision));
  EXPECT_EQ(decision.name(), "two");
  ASSERT_TRUE(apply(make_policy("three", "three")).ok());
  ASSERT_TRUE(reader->Read(&decision));
  EXPECT_EQ(decision.name(), "three");
  EXPECT_EQ(decision.service(), "three");
  context.TryCancel();
  EXPECT_FALSE(reader->Read(&decision));
}

TEST_F(RunningController, RefusesPageTokensOfOtherLists) {
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(apply(make_policy(name, name)).ok());
  v1::ListPoliciesRequest policies;
  policies.set_page_size(2);
  v1::ListPoliciesResponse page;
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListPolicies, policies, &page).ok());
  EXPECT_EQ(page.policies_size(), 2);
  v1::ListPoolsRequest pools;
  pools.set_page_token(page.next_page_token());
  v1::ListPoolsResponse ignored;
  EXPECT_EQ(reason(call(&v1::AdminService::Stub::ListPools, pools, &ignored)), Reason::page_token_invalid);
  policies.set_page_token(page.next_page_token());
  ASSERT_TRUE(call(&v1::AdminService::Stub::ListPolicies, policies, &page).ok());
  ASSERT_EQ(page.policies_size(), 1);
  EXPECT_EQ(page.policies(0).metadata().name(), "c");
  policies.set_page_size(1001);
  EXPECT_EQ(reason(call(&v1::AdminService::Stub::ListPolicies, policies, &page)), Reason::argument_invalid);
}

TEST_F(RunningController, RefusesMessagesOverFourMebibytes) {
  v1::Policy policy = make_policy("shop", "shop");
  (*policy.mutable_metadata()->mutable_labels())["large"] = std::string(5 * 1024 * 1024, 'x');
  EXPECT_EQ(apply(policy).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(apply(make_policy("shop", "shop")).ok());
}

// The first answer of a unary method called by name, as a client without our protos would.
std::optional<std::string> call_raw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                                    const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::Slice slice(request);
  grpc::ByteBuffer in(&slice, 1), out;
  auto call = stub.PrepareUnaryCall(&context, method, in, &queue);
  call->StartCall();
  grpc::Status status;
  call->Finish(&out, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return std::nullopt;
  grpc::Slice content;
  (void)out.DumpToSingleSlice(&content);
  return std::string(reinterpret_cast<const char*>(content.begin()), content.size());
}

TEST_F(RunningController, AnswersHealthChecks) {
  const auto answer = call_raw(controller_.channel(), "/grpc.health.v1.Health/Check", "");
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(*answer, std::string("\x08\x01", 2)) << "HealthCheckResponse{status: SERVING}";
}

}  // namespace
}  // namespace penstock::controller
