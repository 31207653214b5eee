#include "controller/service/roles.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

Roles make(const std::vector<std::string>& entries) {
  Roles roles;
  for (const auto& entry : entries) EXPECT_TRUE(roles.add(entry).ok()) << entry;
  return roles;
}

TEST(Roles, FirstMatchDecides) {
  const Roles roles = make({"ops-eve=viewer", "ops-*=operator"});
  EXPECT_EQ(roles.find("ops-eve")->role, Role::viewer);
  EXPECT_EQ(roles.find("ops-ann")->role, Role::operator_);
  EXPECT_FALSE(roles.find("xops-ann").has_value());
  EXPECT_FALSE(roles.find("").has_value());
}

TEST(Roles, PlaceholdersBindTheNode) {
  const Roles roles = make({"spiffe://fleet/{service}/{node}=node"});
  const auto caller = roles.find("spiffe://fleet/shop/a-1");
  ASSERT_TRUE(caller.has_value());
  EXPECT_TRUE(caller->may_join("shop", "a-1").ok());
  EXPECT_EQ(caller->may_join("shop", "a-2").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(caller->may_join("other", "a-1").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(roles.find("spiffe://fleet/shop/a/b").has_value()) << "a name has no slash";
  EXPECT_FALSE(roles.find("spiffe://fleet//a").has_value()) << "a name is not empty";
}

TEST(Roles, EachRoleMayWhatItShould) {
  const Roles roles = make({"n=node", "v=viewer", "o=operator"});
  EXPECT_FALSE(roles.find("n")->may_read().ok());
  EXPECT_FALSE(roles.find("n")->may_change().ok());
  EXPECT_TRUE(roles.find("n")->may_join("s", "x").ok());
  EXPECT_TRUE(roles.find("v")->may_read().ok());
  EXPECT_FALSE(roles.find("v")->may_change().ok());
  EXPECT_FALSE(roles.find("v")->may_join("s", "x").ok());
  EXPECT_TRUE(roles.find("o")->may_read().ok());
  EXPECT_TRUE(roles.find("o")->may_change().ok());
  EXPECT_FALSE(roles.find("o")->may_join("s", "x").ok());
}

TEST(Roles, RefusesMalformedEntries) {
  Roles roles;
  for (const char* entry : {"ann", "=operator", "ann=admin", "ann="}) EXPECT_FALSE(roles.add(entry).ok()) << entry;
  EXPECT_TRUE(roles.add("CN=ann,O=x=viewer").ok()) << "the last = splits";
  EXPECT_EQ(roles.find("CN=ann,O=x")->role, Role::viewer);
}

TEST(Roles, ReadsAFileAndNamesTheLineThatIsWrong) {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/roles.yaml";
  std::ofstream(path) << "roles:\n  - {identity: ann, role: operator}\n  - {identity: bob, role: viewer}\n";
  Roles roles;
  ASSERT_TRUE(roles.load(path).ok());
  EXPECT_EQ(roles.find("bob")->role, Role::viewer);
  std::ofstream(path) << "roles:\n  - {identity: ann, role: operator}\n  - {identity: bob, role: king}\n";
  const auto status = Roles().load(path);
  EXPECT_NE(status.message().find("roles.yaml:3: "), std::string::npos) << status;
  std::ofstream(path) << "rolls: []\n";
  EXPECT_FALSE(Roles().load(path).ok());
  EXPECT_FALSE(Roles().load(directory.path() + "/none").ok());
}

}  // namespace
}  // namespace penstock::controller
