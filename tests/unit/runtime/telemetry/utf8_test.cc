#include "runtime/telemetry/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace penstock::telemetry {
namespace {

TEST(Utf8, IsWhatUnicodeSays) {
  for (const char* text : {"", "a\n", "\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x9f\x98\x80",
                           "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(text)) << text;
    EXPECT_EQ(as_utf8(text), text);
  }
  for (const char* text : {"\x80", "\xc3", "a\xc3",
                           "\xc3"
                           "a",
                           "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                           "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82", "\xf0\x9f\x98"}) {
    EXPECT_FALSE(is_utf8(text)) << as_utf8(text);
    EXPECT_TRUE(is_utf8(as_utf8(text)));
  }
  EXPECT_EQ(as_utf8("a\xff\xc3\xa9\xe2\x82z"), "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz");
  EXPECT_EQ(as_utf8(std::string("\0b", 2)), std::string("\0b", 2));
}

}  // namespace
}  // namespace penstock::telemetry
