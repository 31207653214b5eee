#include "penstock/agent.h"
#include "tests/unit/own_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <string>

namespace penstock {
namespace {

using testing::HasSubstr;

class PolicyFile : public testing::Test {
 protected:
  ~PolicyFile() override { ::unlink(path_.c_str()); }
  void write(const std::string& text) { std::ofstream(path_) << text; }
  // What the construction of an agent says; empty: it succeeds.
  std::string complaint(AgentOptions options) {
    try {
      Agent agent(runtime_, std::move(options));
      return "";
    } catch (const std::invalid_argument& invalid) {
      return invalid.what();
    }
  }

  Runtime runtime_{RuntimeOptions{.service = "shop", .threads = 1}};
  std::string path_ = own_path("agent.yaml");
};

TEST_F(PolicyFile, GovernsFromTheStartWithoutAController) {
  write(
      "kind: Policy\nmetadata: {name: shop}\nspec:\n  service: shop\n  pools: [{name: default, fallbackLimit: 77}]\n");
  Agent agent(runtime_, {.policy_file = path_});
  agent.start();
  EXPECT_EQ(runtime_.pool("default").limit(), 77);
  EXPECT_FALSE(agent.status().connected);
}

TEST_F(PolicyFile, MistakeIsToldWithItsPlace) {
  write("kind: Policy\nmetadata: {name: shop}\nspec:\n  service: shop\n  pools: [{name: default, maxx: 5}]\n");
  const std::string said = complaint({.policy_file = path_});
  EXPECT_THAT(said, HasSubstr(path_ + ":5:"));
  EXPECT_THAT(said, HasSubstr("did you mean max?"));
}

TEST_F(PolicyFile, OfAnotherServiceIsRefused) {
  write("kind: Policy\nmetadata: {name: shop}\nspec:\n  service: bakery\n");
  EXPECT_THAT(complaint({.policy_file = path_}), HasSubstr("governs bakery, but this service is shop"));
}

TEST_F(PolicyFile, ThatDoesNotExistIsRefused) {
  EXPECT_THAT(complaint({.policy_file = "/nowhere"}), HasSubstr("/nowhere"));
}

TEST_F(PolicyFile, OptionsAreChecked) {
  EXPECT_THAT(complaint({.controller = "127.0.0.1:1"}), HasSubstr("node"));
  AgentOptions options{.controller = "127.0.0.1:1", .node = "n1"};
  options.tls.certificate_file = "/nowhere";
  EXPECT_THAT(complaint(options), HasSubstr("ca_file"));
  options.tls.ca_file = "/nowhere";
  EXPECT_THAT(complaint(options), HasSubstr("key_file"));
}

TEST_F(PolicyFile, AgentWithoutAReachableControllerStopsAtOnce) {
  Agent agent(runtime_, {.controller = "127.0.0.1:1", .node = "n1"});
  agent.start();
  agent.stop();
  EXPECT_FALSE(agent.status().connected);
}

}  // namespace
}  // namespace penstock
