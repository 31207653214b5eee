#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/agent/shop_node.h"
#include "tests/integration/controller/certificate_authority.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock {
namespace {

using controller::CertificateAuthority;
using controller::ControllerProcess;
using testing::HasSubstr;

// A controller that listens beyond loopback, where the certificate's URI says which node may join as what.
class AgentAndMutualTls : public testing::Test {
 protected:
  void SetUp() override {
    authority_.certificate("node", "URI:spiffe://fleet/shop/n1");
    authority_.certificate("viewer");
    authority_.certificate("ops");
    controller_ = std::make_unique<ControllerProcess>(
        directory_.path(),
        std::vector<std::string>{"--tls-cert", authority_.path("server.pem"), "--tls-key",
                                 authority_.path("server.key"), "--tls-ca", authority_.path("ca.pem"), "--role",
                                 "ops=operator", "--role", "viewer=viewer", "--role",
                                 "spiffe://fleet/{service}/{node}=node"},
        "0.0.0.0:0");
    address_ = "127.0.0.1:" + controller_->grpc().substr(controller_->grpc().rfind(':') + 1);
    v1::ApplyPolicyRequest request;
    request.mutable_policy()->mutable_metadata()->set_name("shop");
    request.mutable_policy()->mutable_spec()->set_service("shop");
    v1::Pool& pool = *request.mutable_policy()->mutable_spec()->add_pools();
    pool.set_name("default");
    pool.set_fallback_limit(321);
    v1::ApplyPolicyResponse response;
    grpc::ClientContext context;
    const auto stub = v1::AdminService::NewStub(controller::connect(address_, authority_.credentials("ops")));
    const auto status = stub->ApplyPolicy(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  AgentTls files(const std::string& name) const {
    AgentTls tls{.ca_file = authority_.path("ca.pem")};
    if (!name.empty()) {
      tls.certificate_file = authority_.path(name + ".pem");
      tls.key_file = authority_.path(name + ".key");
    }
    return tls;
  }
  // Why the node could not join.
  static std::string refusal(ShopNode& node) {
    EXPECT_TRUE(eventually([&] { return !node.agent().status().disconnect.empty(); }));
    EXPECT_FALSE(node.agent().status().connected);
    EXPECT_EQ(node.agent().status().policy_revision, 0);
    return node.agent().status().disconnect;
  }

  CertificateAuthority authority_;
  controller::TemporaryDirectory directory_;
  std::unique_ptr<ControllerProcess> controller_;
  std::string address_;
};

TEST_F(AgentAndMutualTls, NodeWithItsOwnCertificateJoinsAndObeys) {
  ShopNode node(address_, "n1", files("node"));
  ASSERT_TRUE(eventually([&] { return node.agent().status().policy_revision == 1; }))
      << node.agent().status().disconnect;
  EXPECT_EQ(node.limit(), 321);
  EXPECT_THAT(controller_->log(), HasSubstr("as spiffe://fleet/shop/n1"));
}

TEST_F(AgentAndMutualTls, NodeUnderAnotherNameIsRefused) {
  ShopNode node(address_, "n2", files("node"));
  EXPECT_THAT(refusal(node), HasSubstr("n2"));
}

TEST_F(AgentAndMutualTls, ViewerIsNoNode) {
  ShopNode node(address_, "n1", files("viewer"));
  EXPECT_THAT(refusal(node), HasSubstr("viewer"));
}

TEST_F(AgentAndMutualTls, WithoutACertificateOrWithoutTlsThereIsNoConnection) {
  ShopNode anonymous(address_, "n1", files(""));
  refusal(anonymous);
  ShopNode plain(address_, "n1");
  refusal(plain);
  EXPECT_THAT(controller_->log(), testing::Not(HasSubstr("\"action\":\"join\"")));
}

TEST_F(AgentAndMutualTls, ControllerOfAnotherAuthorityIsNotTrusted) {
  CertificateAuthority other;
  AgentTls tls = files("node");
  tls.ca_file = other.path("ca.pem");
  ShopNode node(address_, "n1", tls);
  refusal(node);
}

TEST_F(AgentAndMutualTls, ControllerUnderAnotherNameIsNotTrusted) {
  AgentTls tls = files("node");
  tls.server_name = "penstock.example.com";
  ShopNode node(address_, "n1", tls);
  refusal(node);
}

TEST_F(AgentAndMutualTls, NoKeyIsEverLogged) {
  ShopNode node(address_, "n1", files("node"));
  ASSERT_TRUE(eventually([&] { return node.agent().status().policy_revision == 1; }));
  EXPECT_THAT(controller_->log(), testing::Not(HasSubstr("PRIVATE KEY")));
}

}  // namespace
}  // namespace penstock
