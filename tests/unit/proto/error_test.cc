#include "proto/errors/error.h"

#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace penstock::errors {
namespace {

using testing::HasSubstr;

std::string code_name(absl::StatusCode code) { return absl::StatusCodeToString(code); }

class EveryReason : public testing::TestWithParam<Row> {};

TEST_P(EveryReason, SurvivesGrpcWithAllItCarries) {
  const Error error{.reason = GetParam().reason,
                    .message = "pool \"web\" is unknown",
                    .metadata = {{"pool", "web"}},
                    .violations = {{"pool", "is unknown"}},
                    .retry_after = std::chrono::milliseconds(1500)};
  const grpc::Status status = to_grpc(error);
  EXPECT_EQ(static_cast<int>(status.error_code()), static_cast<int>(GetParam().code));
  EXPECT_EQ(status.error_message(), error.message);
  EXPECT_EQ(from_grpc(status), error);
}

TEST_P(EveryReason, SurvivesAbslStatus) {
  const Error error{.reason = GetParam().reason, .message = "no"};
  const absl::Status status = to_absl(error);
  EXPECT_EQ(status.code(), GetParam().code);
  EXPECT_EQ(from_absl(status), error);
  EXPECT_EQ(from_grpc(to_grpc(status)), error);
}

TEST_P(EveryReason, IsFoundByItsName) { EXPECT_EQ(parse_reason(GetParam().name), GetParam().reason); }

TEST_P(EveryReason, HasAnHttpStatusAndAnExitCodeThatFitItsCode) {
  const Row& row = GetParam();
  EXPECT_GE(row.http_status, 400);
  EXPECT_EQ(row.http_status >= 500,
            row.code == absl::StatusCode::kInternal || row.code == absl::StatusCode::kUnavailable);
  EXPECT_GE(row.exit_code, 1);
  EXPECT_LE(row.exit_code, 5);
  EXPECT_EQ(row.exit_code == 4, row.code == absl::StatusCode::kUnavailable);
  EXPECT_EQ(row.exit_code == 5, row.code == absl::StatusCode::kAborted);
}

TEST_P(EveryReason, StandsInTheReadme) {
  std::ifstream file(PROTO_README);
  const std::string readme(std::istreambuf_iterator<char>(file), {});
  const Row& row = GetParam();
  const std::string line = "| `" + std::string(row.name) + "` | " + code_name(row.code) + " | " +
                           std::to_string(row.http_status) + " | " + std::to_string(row.exit_code) + " | " +
                           std::string(row.meaning) + " | " + std::string(row.remedy) + " |\n";
  EXPECT_THAT(readme, HasSubstr(line));
}

INSTANTIATE_TEST_SUITE_P(Table, EveryReason, testing::ValuesIn(kTable),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ErrorTable, HasNoRowTwiceAndTheReadmeHasNoOther) {
  std::set<std::string> names;
  for (const Row& row : kTable) names.emplace(row.name);
  EXPECT_EQ(names.size(), kTable.size());

  std::ifstream file(PROTO_README);
  std::size_t rows = 0;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    ++rows;
    EXPECT_TRUE(names.contains(line.substr(3, line.find('`', 3) - 3))) << line;
  }
  EXPECT_EQ(rows, kTable.size());
}

TEST(Error, DetailsAreTheStandardOnes) {
  const google::rpc::Status status =
      to_rpc(Error{.reason = Reason::store_unavailable, .message = "locked", .retry_after = std::chrono::seconds(2)});
  ASSERT_EQ(status.details_size(), 2);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(status.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "STORE_UNAVAILABLE");
  EXPECT_EQ(info.domain(), "penstock");
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(status.details(1).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 2);
}

TEST(Error, AStatusWithoutReasonKeepsCodeAndMessage) {
  const grpc::Status status = to_grpc(absl::DeadlineExceededError("too late"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(status.error_message(), "too late");
  EXPECT_EQ(from_grpc(status), std::nullopt);
  EXPECT_TRUE(to_grpc(absl::OkStatus()).ok());
}

TEST(Error, DetailsOfOthersAreNotTakenForOurs) {
  google::rpc::Status status;
  google::rpc::ErrorInfo info;
  info.set_reason("POLICY_INVALID");
  info.set_domain("example.com");
  status.add_details()->PackFrom(info);
  EXPECT_EQ(from_rpc(status), std::nullopt);
  EXPECT_EQ(from_grpc(grpc::Status(grpc::StatusCode::INTERNAL, "x", "\xff garbage")), std::nullopt);
}

TEST(Error, PolicyInvalidNamesTheFirstFieldAndCountsTheRest) {
  const Error error = policy_invalid({{"spec.service", "is required"}, {"metadata.name", "is required"}});
  EXPECT_EQ(error.message, "spec.service: is required (and 1 more)");
  EXPECT_EQ(error.violations.size(), 2u);
}

}  // namespace
}  // namespace penstock::errors
