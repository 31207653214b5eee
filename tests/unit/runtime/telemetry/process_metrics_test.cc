#include "runtime/telemetry/process_metrics.h"

#include <gtest/gtest.h>

#include <ctime>
#include <vector>

#include "penstock/metrics.h"

namespace penstock::telemetry {
namespace {

double sample(const std::string& text, const std::string& name) {
  const std::size_t at = text.find("\n" + name + " ");
  EXPECT_NE(at, std::string::npos) << name;
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
}

TEST(ProcessMetrics, MemoryGrowsWithWhatIsTouched) {
  ResidentMemory kept;
  EXPECT_GT(kept.bytes(), 0);
  const std::uint64_t before = resident_bytes();
  std::vector<char> touched(64 << 20, 1);
  EXPECT_GE(resident_bytes(), before + (60 << 20));
  EXPECT_GE(kept.bytes(), before + (60 << 20));
  EXPECT_EQ(touched.back(), 1);
}

TEST(ProcessMetrics, SayWhenTheProcessStarted) {
  MetricsRegistry metrics;
  const double start = sample(metrics.text(), "process_start_time_seconds");
  const auto now = static_cast<double>(std::time(nullptr));
  EXPECT_LE(start, now + 1);
  EXPECT_GE(start, now - 600);
}

TEST(ProcessMetrics, CountDescriptors) {
  MetricsRegistry metrics;
  const double before = sample(metrics.text(), "process_open_fds");
  EXPECT_GE(before, 3);
  FILE* opened = std::fopen("/dev/null", "r");
  EXPECT_EQ(sample(metrics.text(), "process_open_fds"), before + 1);
  std::fclose(opened);
}

}  // namespace
}  // namespace penstock::telemetry
