#include <gtest/gtest.h>

#include <chrono>

#include "penstock/v1/admin.grpc.pb.h"
#include "penstock/v1/agent.grpc.pb.h"
#include "proto/errors/error.h"
#include "tests/integration/controller/certificate_authority.h"
#include "tests/integration/controller/controller_process.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using errors::Reason;

class ControllerWithMutualTls : public testing::Test {
 protected:
  void SetUp() override {
    authority_.certificate("ops-ann");
    authority_.certificate("grafana");
    authority_.certificate("stranger");
    authority_.certificate("node", "URI:spiffe://fleet/shop/a");
    controller_ = std::make_unique<ControllerProcess>(
        directory_.path(),
        std::vector<std::string>{"--tls-cert", authority_.path("server.pem"), "--tls-key",
                                 authority_.path("server.key"), "--tls-ca", authority_.path("ca.pem"), "--role",
                                 "ops-*=operator", "--role", "grafana=viewer", "--role",
                                 "spiffe://fleet/{service}/{node}=node"},
        "0.0.0.0:0");
    address_ = "127.0.0.1:" + controller_->grpc().substr(controller_->grpc().rfind(':') + 1);
  }
  std::shared_ptr<grpc::Channel> channel(const std::string& name) {
    return connect(address_, authority_.credentials(name));
  }
  grpc::Status get_status(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ControllerStatus status;
    return v1::AdminService::NewStub(channel)->GetStatus(&context, v1::GetStatusRequest(), &status);
  }
  grpc::Status apply(const std::shared_ptr<grpc::Channel>& channel) {
    v1::ApplyPolicyRequest request;
    request.mutable_policy()->mutable_metadata()->set_name("shop");
    request.mutable_policy()->mutable_spec()->set_service("shop");
    grpc::ClientContext context;
    v1::ApplyPolicyResponse response;
    return v1::AdminService::NewStub(channel)->ApplyPolicy(&context, request, &response);
  }
  // The first push, or the status with which the stream ended.
  grpc::Status join(const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
                    const std::string& node) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    const auto stub = v1::AgentService::NewStub(channel);
    const auto stream = stub->Connect(&context);
    v1::AgentMessage hello;
    hello.mutable_hello()->set_service(service);
    hello.mutable_hello()->set_node(node);
    stream->Write(hello);
    v1::ControllerMessage message;
    if (stream->Read(&message)) {
      context.TryCancel();
      stream->Finish();
      return grpc::Status::OK;
    }
    return stream->Finish();
  }
  static Reason reason(const grpc::Status& status) {
    const auto error = errors::from_grpc(status);
    EXPECT_TRUE(error.has_value()) << status.error_code() << " " << status.error_message();
    return error ? error->reason : Reason::internal;
  }

  CertificateAuthority authority_;
  TemporaryDirectory directory_;
  std::unique_ptr<ControllerProcess> controller_;
  std::string address_;
};

TEST_F(ControllerWithMutualTls, OperatorChangesAndReads) {
  EXPECT_TRUE(get_status(channel("ops-ann")).ok());
  const auto status = apply(channel("ops-ann"));
  EXPECT_TRUE(status.ok()) << status.error_message();
  v1::ListPolicyRevisionsRequest request;
  request.set_name("shop");
  v1::ListPolicyRevisionsResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::AdminService::NewStub(channel("ops-ann"))->ListPolicyRevisions(&context, request, &response).ok());
  EXPECT_EQ(response.revisions(0).author(), "ops-ann");
}

TEST_F(ControllerWithMutualTls, ViewerReadsOnly) {
  EXPECT_TRUE(get_status(channel("grafana")).ok());
  const auto status = apply(channel("grafana"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(reason(status), Reason::permission);
  EXPECT_EQ(join(channel("grafana"), "shop", "a").error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(ControllerWithMutualTls, NodeJoinsAsItselfAndNothingElse) {
  ASSERT_TRUE(apply(channel("ops-ann")).ok());
  EXPECT_TRUE(join(channel("node"), "shop", "a").ok());
  EXPECT_EQ(reason(join(channel("node"), "shop", "b")), Reason::permission);
  EXPECT_EQ(reason(join(channel("node"), "warehouse", "a")), Reason::permission);
  EXPECT_EQ(reason(get_status(channel("node"))), Reason::permission);
  EXPECT_EQ(reason(apply(channel("node"))), Reason::permission);
  EXPECT_EQ(reason(join(channel("ops-ann"), "shop", "a")), Reason::permission);
}

TEST_F(ControllerWithMutualTls, CertificateWithoutARoleMayNothing) {
  const auto status = get_status(channel("stranger"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(reason(status), Reason::unauthenticated);
}

TEST_F(ControllerWithMutualTls, NoCertificateNoConnection) {
  EXPECT_EQ(get_status(channel("")).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(get_status(connect(address_, grpc::InsecureChannelCredentials())).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  CertificateAuthority other;
  other.certificate("ops-ann");
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = read_file(authority_.path("ca.pem"));
  options.pem_cert_chain = read_file(other.path("ops-ann.pem"));
  options.pem_private_key = read_file(other.path("ops-ann.key"));
  EXPECT_EQ(get_status(connect(address_, grpc::SslCredentials(options))).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(ControllerOptions, OpenListenersAreRefusedAtStart) {
  TemporaryDirectory directory;
  const auto grpc =
      run_controller({"--data", directory.path() + "/data", "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0"});
  EXPECT_EQ(grpc.code, 2);
  EXPECT_NE(grpc.errors.find("--tls-cert"), std::string::npos) << grpc.errors;
  const auto http =
      run_controller({"--data", directory.path() + "/data", "--grpc", "127.0.0.1:0", "--http", "0.0.0.0:0"});
  EXPECT_EQ(http.code, 2);
  EXPECT_NE(http.errors.find("--http"), std::string::npos) << http.errors;
}

TEST(ControllerOptions, DataDirectoryInUseIsRefusedAtStart) {
  TemporaryDirectory directory;
  ControllerProcess first(directory.path());
  const auto second = run_controller(
      {"--data", directory.path() + "/data", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--prometheus", ""});
  EXPECT_EQ(second.code, 1);
  EXPECT_NE(second.errors.find("in use by another controller (process " + std::to_string(first.pid()) + ")"),
            std::string::npos)
      << second.errors;
}

}  // namespace
}  // namespace penstock::controller
