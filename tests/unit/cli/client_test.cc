// Against a server of the real interface that does what the real controller does only when things go wrong.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <fstream>
#include <mutex>
#include <thread>

#include "penstock/v1/admin.grpc.pb.h"
#include "proto/errors/error.h"
#include "tests/unit/cli/invocation.h"
#include "tests/unit/own_path.h"
#include "tests/unit/policy/sample.h"

namespace penstock::cli {
namespace {

using errors::Reason;
using testing::HasSubstr;

class FailingController : public v1::AdminService::Service {
 public:
  FailingController() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FailingController() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  grpc::Status ApplyPolicy(grpc::ServerContext*, const v1::ApplyPolicyRequest* request,
                           v1::ApplyPolicyResponse* response) override {
    std::lock_guard lock(mutex);
    request_ids.push_back(request->request_id());
    if (static_cast<int>(request_ids.size()) <= failures) return failure;
    *response->mutable_policy() = request->policy();
    response->mutable_policy()->mutable_metadata()->set_revision(1);
    response->set_changed(true);
    return grpc::Status::OK;
  }
  grpc::Status GetStatus(grpc::ServerContext* context, const v1::GetStatusRequest*, v1::ControllerStatus*) override {
    if (hang)
      while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return failure;
  }

  std::mutex mutex;
  std::vector<std::string> request_ids;
  int failures = 0;
  bool hang = false;
  grpc::Status failure;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class AFailingController : public testing::Test {
 protected:
  AFailingController() : file_(own_path("client.yaml")) { std::ofstream(file_) << policy::kShop; }
  ~AFailingController() override { std::remove(file_.c_str()); }

  Invocation apply(const std::string& timeout = "5s") {
    return invoke({"apply", "-f", file_, "--controller", controller_.address(), "--timeout", timeout});
  }

  FailingController controller_;
  std::string file_;
};

TEST_F(AFailingController, ThatComesBackAppliesOnceUnderOneRequestId) {
  controller_.failures = 2;
  controller_.failure = errors::to_grpc({.reason = Reason::store_unavailable, .message = "the store is locked"});
  const Invocation done = apply();
  EXPECT_EQ(done.exit_code, kOk) << done.err;
  EXPECT_EQ(done.out, "policy/shop revision 1 applied\n");
  ASSERT_EQ(controller_.request_ids.size(), 3u);
  EXPECT_EQ(controller_.request_ids[0], controller_.request_ids[2]);
  EXPECT_EQ(controller_.request_ids[0].size(), 36u);
}

TEST_F(AFailingController, ThatStaysAwayEndsWithTheTimeout) {
  controller_.failures = 1000;
  controller_.failure = errors::to_grpc({.reason = Reason::store_unavailable, .message = "the store is locked"});
  const Invocation given_up = apply("1s");
  EXPECT_EQ(given_up.exit_code, kUnreachable);
  EXPECT_EQ(given_up.out, "");
  EXPECT_THAT(given_up.err, HasSubstr("error: "));
}

TEST_F(AFailingController, ThatRefusesIsNotAskedAgain) {
  controller_.failures = 1000;
  for (const errors::Row& row : errors::kTable) {
    if (row.code == absl::StatusCode::kUnavailable) continue;
    controller_.request_ids.clear();
    controller_.failure = errors::to_grpc({.reason = row.reason, .message = "no"});
    const Invocation refused = apply();
    EXPECT_EQ(refused.exit_code, row.exit_code) << row.name;
    EXPECT_EQ(refused.err, "error: no\n") << row.name;
    EXPECT_EQ(controller_.request_ids.size(), 1u) << row.name;
  }
}

TEST_F(AFailingController, HasEveryViolationShown) {
  controller_.failures = 1;
  controller_.failure =
      errors::to_grpc(errors::policy_invalid({{"spec.service", "is required"}, {"metadata.name", "is required"}}));
  const Invocation refused = apply();
  EXPECT_EQ(refused.exit_code, kInvalidPolicy);
  EXPECT_EQ(refused.err, "error: spec.service: is required\nerror: metadata.name: is required\n");
}

TEST_F(AFailingController, ThatDoesNotAnswerTimesOut) {
  controller_.hang = true;
  const Invocation late = invoke({"status", "--controller", controller_.address(), "--timeout", "200ms"});
  EXPECT_EQ(late.exit_code, kUnreachable);
  EXPECT_THAT(late.err, HasSubstr("no answer in time"));
}

TEST_F(AFailingController, ThatIsSlowIsSpokenOf) {
  controller_.hang = true;
  const Invocation late = invoke({"status", "--controller", controller_.address(), "--timeout", "1500ms"});
  EXPECT_THAT(late.err, HasSubstr("waiting for controller"));
  EXPECT_EQ(late.out, "");
}

TEST_F(AFailingController, WithoutAReasonFailsWithItsMessage) {
  controller_.failure = grpc::Status(grpc::StatusCode::UNKNOWN, "something else");
  const Invocation failed = invoke({"status", "--controller", controller_.address()});
  EXPECT_EQ(failed.exit_code, kFailed);
  EXPECT_EQ(failed.err, "error: something else\n");
}

}  // namespace
}  // namespace penstock::cli
