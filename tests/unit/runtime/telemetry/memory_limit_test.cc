#include "runtime/telemetry/memory_limit.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace penstock::telemetry {
namespace {

namespace fs = std::filesystem;

// Control groups as the kernel shows them, in a directory.
class ControlGroups : public ::testing::Test {
 protected:
  ControlGroups() {
    std::string name = (fs::temp_directory_path() / "penstock-cgroup-XXXXXX").string();
    root = ::mkdtemp(name.data());
  }
  ~ControlGroups() override { fs::remove_all(root); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text << "\n";
  }
  std::int64_t limit(std::string_view groups) { return memory_limit(groups, root.string()); }

  fs::path root;
};

TEST_F(ControlGroups, TheLeastLimitOnTheWayUpCounts) {
  write("shop/node/memory.max", "max");
  write("shop/memory.max", "536870912");
  write("memory.max", "1073741824");
  EXPECT_EQ(limit("0::/shop/node\n"), 536870912);
  EXPECT_EQ(limit("0::/\n"), 1073741824);
}

TEST_F(ControlGroups, TheFirstVersionIsReadToo) {
  write("memory/shop/memory.limit_in_bytes", "268435456");
  write("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(limit("5:cpu,cpuacct:/shop\n4:memory:/shop\n0::/shop\n"), 268435456);
  EXPECT_EQ(limit("4:memory:/other\n"), 0);
}

TEST_F(ControlGroups, WithoutALimitThereIsNone) {
  EXPECT_EQ(limit(""), 0);
  EXPECT_EQ(limit("not a control group\n0::/none\n:\n"), 0);
  write("none/memory.max", "soon");
  EXPECT_EQ(limit("0::/none"), 0);
}

}  // namespace
}  // namespace penstock::telemetry
