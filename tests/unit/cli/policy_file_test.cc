#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/cli/invocation.h"
#include "tests/unit/own_path.h"
#include "tests/unit/policy/sample.h"

namespace penstock::cli {
namespace {

using testing::HasSubstr;

class AFile : public testing::Test {
 protected:
  void TearDown() override {
    for (const std::string& path : paths_) std::remove(path.c_str());
  }
  std::string write(const std::string& name, const std::string& text) {
    paths_.push_back(own_path(name));
    std::ofstream(paths_.back(), std::ios::binary) << text;
    return paths_.back();
  }

 private:
  std::vector<std::string> paths_;
};

TEST_F(AFile, ThatIsValidIsNamed) {
  const std::string shop = write("shop.yaml", policy::kShop);
  const Invocation valid = invoke({"validate", "-f", shop});
  EXPECT_EQ(valid.exit_code, kOk);
  EXPECT_EQ(valid.out, shop + ": policy/shop is valid\n");
  EXPECT_EQ(valid.err, "");
}

TEST_F(AFile, ThatIsInvalidIsThreeWithEveryProblem) {
  const std::string path = write("bad.yaml",
                                 "kind: Policy\nmetadata: {name: a}\nspec:\n  service: s\n  upstreams:\n    - name: p\n"
                                 "      match: {hosts: [a]}\n      breaker: {slowCal: {over: 3s}}\n      timeout: 5\n");
  const Invocation invalid = invoke({"validate", "-f", path});
  EXPECT_EQ(invalid.exit_code, kInvalidPolicy);
  EXPECT_EQ(invalid.out, "");
  EXPECT_THAT(invalid.err,
              HasSubstr("error: " + path + ":8:17: breaker.slowCal: unknown field (did you mean slowCall?)\n"));
  EXPECT_THAT(invalid.err, HasSubstr("error: " + path + ":9:16: upstreams[0].timeout: \"5\" is not a duration"));
  // Nothing is asked of a controller when the file is invalid.
  for (const char* command : {"apply", "diff"}) {
    const Invocation refused = invoke({command, "-f", path, "--controller", "127.0.0.1:1"});
    EXPECT_EQ(refused.exit_code, kInvalidPolicy);
    EXPECT_EQ(refused.err, invalid.err);
  }
}

TEST_F(AFile, ThatCannotBeReadIsAFailure) {
  const Invocation absent = invoke({"validate", "-f", "/nonexistent/shop.yaml"});
  EXPECT_EQ(absent.exit_code, kFailed);
  EXPECT_EQ(absent.err, "error: /nonexistent/shop.yaml: cannot be read\n");
  EXPECT_EQ(invoke({"validate", "-f", testing::TempDir()}).exit_code, kFailed);
}

TEST_F(AFile, OfSeveralMayNotRepeatAPolicy) {
  const std::string one = write("one.yaml", policy::kShop);
  const std::string two = write("two.yaml", policy::kShop);
  const Invocation both = invoke({"validate", "-f", one, "-f", two});
  EXPECT_EQ(both.exit_code, kInvalidPolicy);
  EXPECT_THAT(both.err, HasSubstr("is in an earlier file too"));
}

TEST_F(AFile, WithARevisionExpectedHoldsOnePolicy) {
  const std::string path =
      write("two.yaml", std::string(policy::kShop) + "---\nkind: Policy\nmetadata: {name: b}\nspec: {service: t}\n");
  EXPECT_EQ(invoke({"apply", "-f", path, "--expect-revision", "3"}).exit_code, kUsage);
}

}  // namespace
}  // namespace penstock::cli
