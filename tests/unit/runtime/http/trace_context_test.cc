#include "runtime/http/trace_context.h"

#include <gtest/gtest.h>

namespace penstock::http {
namespace {

constexpr std::string_view kHeader = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContext, ReadsAndWritesTheHeader) {
  const auto context = TraceContext::parse(kHeader);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->header(), kHeader);
  EXPECT_EQ(context->flags, 1);
  EXPECT_EQ(trace_id_of(kHeader), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(context->header({1, 2, 3, 4, 5, 6, 7, 8}), "00-4bf92f3577b34da6a3ce929d0e0e4736-0102030405060708-01");
}

TEST(TraceContext, TakesLaterVersionsAsFarAsItKnowsThem) {
  std::string later(kHeader);
  later[1] = '1';
  EXPECT_TRUE(TraceContext::parse(later));
  EXPECT_TRUE(TraceContext::parse(later + "-more"));
  EXPECT_FALSE(TraceContext::parse(later + "more"));
}

TEST(TraceContext, RefusesWhatTheFormatForbids) {
  const std::string good(kHeader);
  for (const std::string& bad :
       std::vector<std::string>{std::string(), good.substr(1), good + "-", good + " ", "ff" + good.substr(2),
                                "0g" + good.substr(2), "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                                "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}) {
    EXPECT_FALSE(TraceContext::parse(bad)) << bad;
  }
  EXPECT_FALSE(TraceContext().valid());
}

}  // namespace
}  // namespace penstock::http
