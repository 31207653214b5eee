#include "policy/units.h"

#include <gtest/gtest.h>

namespace penstock::policy {
namespace {

using namespace std::chrono_literals;

TEST(Duration, IsANumberAndAUnit) {
  EXPECT_EQ(*parse_duration("250ms"), 250ms);
  EXPECT_EQ(*parse_duration("5s"), 5s);
  EXPECT_EQ(*parse_duration("1m"), 1min);
  EXPECT_EQ(*parse_duration("1h"), 1h);
  EXPECT_EQ(*parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(*parse_duration("0.25m"), 15s);
  EXPECT_EQ(*parse_duration("0s"), 0s);
  EXPECT_EQ(*parse_duration("7us"), 7us);
  EXPECT_EQ(*parse_duration("1.250us"), 1250ns);
}

TEST(Duration, AnythingElseIsRefused) {
  for (const char* text : {"", "5", "s", "-5s", "+5s", "5 s", "5sec", "1m30s", "1.s", ".5s", "1e3s", "inf", "5S",
                           "1.5ns", "0.0000000001s", "9999999999999h", "99999999999999999999s"})
    EXPECT_FALSE(parse_duration(text).ok()) << text;
}

TEST(Duration, IsPrintedAsItIsRead) {
  for (const std::chrono::nanoseconds value :
       {std::chrono::nanoseconds(0ns), std::chrono::nanoseconds(1ns), std::chrono::nanoseconds(1500ms),
        std::chrono::nanoseconds(90s), std::chrono::nanoseconds(3h), std::chrono::nanoseconds(1234567891ns)})
    EXPECT_EQ(*parse_duration(format_duration(value)), value) << format_duration(value);
  EXPECT_EQ(format_duration(1500ms), "1.5s");
  EXPECT_EQ(format_duration(1'234'567'891ns), "1.234567891s");
  EXPECT_EQ(format_duration(12'050us), "12.05ms");
  EXPECT_EQ(format_duration(250ms), "250ms");
  EXPECT_EQ(format_duration(90s), "90s");
  EXPECT_EQ(format_duration(90min), "90m");
  EXPECT_EQ(format_duration(-1500ms), "-1.5s");
  EXPECT_EQ(format_duration(std::chrono::nanoseconds::min()), "-9223372036.854775808s");
  EXPECT_EQ(format_duration(-7ns), "-7ns");
  EXPECT_EQ(format_duration(60s), "1m");
}

TEST(Duration, IsRoundedForPeople) {
  EXPECT_EQ(round_duration(0s), "0s");
  EXPECT_EQ(round_duration(1234us), "1.23ms");
  EXPECT_EQ(round_duration(45678us), "45.7ms");
  EXPECT_EQ(round_duration(999'900us), "1s");
  EXPECT_EQ(round_duration(5s), "5s");
  EXPECT_EQ(round_duration(-5s), "-5s");
  EXPECT_EQ(round_duration(125s), "2m5s");
  EXPECT_EQ(round_duration(2h + 5min), "2h5m");
  EXPECT_EQ(round_duration(50h), "2d2h");
}

TEST(Bytes, AreWholeWithABinaryUnit) {
  EXPECT_EQ(*parse_bytes("1048576"), 1 << 20);
  EXPECT_EQ(*parse_bytes("512MiB"), 512 << 20);
  EXPECT_EQ(*parse_bytes("2GiB"), std::int64_t{2} << 30);
  EXPECT_EQ(*parse_bytes("1TiB"), std::int64_t{1} << 40);
  for (const char* text : {"", "MiB", "1.5GiB", "-1", "1MB", "1M", "1 MiB", "1mib", "9999999999TiB", "1e9"})
    EXPECT_FALSE(parse_bytes(text).ok()) << text;
}

TEST(Bytes, ArePrintedAsTheyAreRead) {
  for (const std::int64_t value : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1023}, std::int64_t{1024},
                                   std::int64_t{3} << 20, (std::int64_t{1} << 40) + 1})
    EXPECT_EQ(*parse_bytes(format_bytes(value)), value);
  EXPECT_EQ(format_bytes(std::int64_t{2} << 30), "2GiB");
}

}  // namespace
}  // namespace penstock::policy
