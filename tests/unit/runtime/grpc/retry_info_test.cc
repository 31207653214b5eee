#include "runtime/grpc/retry_info.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace penstock::grpc {
namespace {

using namespace std::chrono_literals;

google::rpc::RetryInfo retry_info(std::int64_t seconds, std::int32_t nanos = 0) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(seconds);
  info.mutable_retry_delay()->set_nanos(nanos);
  return info;
}

// As servers send it, with what else they say.
std::string status_with(const google::protobuf::Message& detail) {
  google::rpc::Status status;
  status.set_code(8);
  status.set_message("too many calls");
  google::rpc::ErrorInfo error;
  error.set_reason("LIMIT");
  (*error.mutable_metadata())["quota"] = "calls per second";
  status.add_details()->PackFrom(error);
  status.add_details()->PackFrom(detail);
  return status.SerializeAsString();
}

TEST(RetryInfo, IsFoundAmongTheDetails) {
  EXPECT_EQ(retry_delay(status_with(retry_info(2, 500'000'000))), 2500ms);
  EXPECT_EQ(retry_delay(status_with(retry_info(0, 1'000'000))), 1ms);
  EXPECT_EQ(retry_delay(status_with(retry_info(3))), 3s);
}

TEST(RetryInfo, OfNoTimeMeansAtOnce) {
  google::rpc::RetryInfo now;
  now.mutable_retry_delay();
  EXPECT_EQ(retry_delay(status_with(now)), Duration::zero());
  EXPECT_EQ(retry_delay(status_with(google::rpc::RetryInfo())), std::nullopt);
}

TEST(RetryInfo, OfAYearIsAWeek) {
  EXPECT_EQ(retry_delay(status_with(retry_info(365 * 24 * 3600))), std::chrono::hours(7 * 24));
  EXPECT_EQ(retry_delay(status_with(retry_info(315'576'000'000))), std::chrono::hours(7 * 24));
}

TEST(RetryInfo, NegativeIsNone) {
  EXPECT_EQ(retry_delay(status_with(retry_info(-1))), std::nullopt);
  EXPECT_EQ(retry_delay(status_with(retry_info(0, -1))), std::nullopt);
  EXPECT_EQ(retry_delay(status_with(retry_info(1, 1'000'000'000))), std::nullopt) << "no duration has so many";
}

TEST(RetryInfo, IsNoneWithoutOne) {
  EXPECT_EQ(retry_delay(""), std::nullopt);
  google::rpc::Status bare;
  bare.set_code(8);
  EXPECT_EQ(retry_delay(bare.SerializeAsString()), std::nullopt);
  EXPECT_EQ(retry_delay(status_with(google::rpc::BadRequest())), std::nullopt);
}

// Each of its beginnings is either no message or one that says less.
TEST(RetryInfo, BytesThatAreCutOffOrChangedDoNoHarm) {
  const std::string whole = status_with(retry_info(2, 5));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto delay = retry_delay(std::string_view(whole).substr(0, size));
    EXPECT_TRUE(!delay || *delay <= 2s + 5ns) << size;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      const auto delay = retry_delay(changed);
      EXPECT_TRUE(!delay || (*delay >= 0s && *delay <= std::chrono::hours(7 * 24) + 1s)) << at;
    }
  }
  EXPECT_EQ(retry_delay(std::string(100, '\xff')), std::nullopt);
}

}  // namespace
}  // namespace penstock::grpc
