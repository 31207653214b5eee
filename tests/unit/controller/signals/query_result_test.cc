#include "controller/signals/query_result.h"

#include <gtest/gtest.h>

#include <string>

namespace penstock::controller {
namespace {

std::string vector(const std::string& samples) {
  return R"({"status":"success","data":{"resultType":"vector","result":[)" + samples + "]}}";
}

std::string reason_of(int status, const std::string& body) {
  const QueryResult result = parse_query_response(status, body);
  EXPECT_EQ(result.state, SignalState::error) << body;
  EXPECT_TRUE(result.samples.empty());
  EXPECT_FALSE(result.message.empty());
  return result.reason;
}

TEST(QueryResult, ValueIsReadFromText) {
  const QueryResult result =
      parse_query_response(200, vector(R"({"metric":{"node":"n1","pool":"default"},"value":[1435781451.781,"12.5"]})"));
  ASSERT_EQ(result.state, SignalState::value);
  ASSERT_EQ(result.samples.size(), 1u);
  EXPECT_EQ(result.samples[0].labels.at("node"), "n1");
  EXPECT_EQ(result.samples[0].value, 12.5);
}

TEST(QueryResult, NothingIsEmpty) { EXPECT_EQ(parse_query_response(200, vector("")).state, SignalState::empty); }

TEST(QueryResult, NotANumberIsNoValue) {
  const char* nan = R"({"metric":{},"value":[1,"NaN"]})";
  EXPECT_EQ(parse_query_response(200, vector(nan)).state, SignalState::nan);
  EXPECT_EQ(parse_query_response(200, vector(R"({"metric":{},"value":[1,"+Inf"]})")).state, SignalState::nan);
  const QueryResult mixed = parse_query_response(200, vector(std::string(nan) + R"(,{"metric":{},"value":[1,"2"]})"));
  EXPECT_EQ(mixed.state, SignalState::value);
  EXPECT_EQ(mixed.samples.size(), 1u);
}

TEST(QueryResult, GarbageIsAnError) {
  EXPECT_EQ(reason_of(200, ""), "json");
  EXPECT_EQ(reason_of(200, "<html><body>login</body></html>"), "json");
  EXPECT_EQ(reason_of(200, vector("").substr(0, 30)), "json");
  EXPECT_EQ(reason_of(200, std::string(100'000, '[')), "json");
  EXPECT_EQ(reason_of(200, "[]"), "shape");
  EXPECT_EQ(reason_of(200, "null"), "shape");
  EXPECT_EQ(reason_of(200, "{}"), "shape");
  EXPECT_EQ(reason_of(200, R"({"status":"success"})"), "shape");
  EXPECT_EQ(reason_of(200, R"({"status":"success","data":{"resultType":"matrix","result":[]}})"), "shape");
  EXPECT_EQ(reason_of(200, R"({"status":"success","data":{"resultType":"vector","result":{}}})"), "shape");
  for (const char* sample : {"1", "{}", R"({"metric":[],"value":[1,"1"]})", R"({"metric":{},"value":[1,1]})",
                             R"({"metric":{},"value":["1"]})", R"({"metric":{},"value":[1,"much"]})",
                             R"({"metric":{"a":1},"value":[1,"1"]})"}) {
    EXPECT_EQ(reason_of(200, vector(sample)), "shape") << sample;
  }
}

std::string matrix(const std::string& series) {
  return R"({"status":"success","data":{"resultType":"matrix","result":[)" + series + "]}}";
}

TEST(RangeResult, PointsAreReadAndNumbersThatAreNoneLeftOut) {
  const RangeResult result =
      parse_range_response(200, matrix(R"({"metric":{"a":"b"},"values":[[3600,"1.5"],[7200,"NaN"],[10800.5,"2"]]},)"
                                       R"({"metric":{},"values":[[1,"+Inf"]]})"));
  ASSERT_EQ(result.state, SignalState::value);
  ASSERT_EQ(result.series.size(), 1u);
  EXPECT_EQ(result.series[0].labels.at("a"), "b");
  EXPECT_EQ(result.series[0].points, (std::vector<std::pair<double, double>>{{3600, 1.5}, {10800.5, 2}}));
  EXPECT_EQ(parse_range_response(200, matrix("")).state, SignalState::empty);
  EXPECT_EQ(parse_range_response(200, matrix(R"({"metric":{},"values":[[1,"NaN"]]})")).state, SignalState::nan);
}

TEST(RangeResult, GarbageIsAnError) {
  const auto reason = [](int status, const std::string& body) {
    const RangeResult result = parse_range_response(status, body);
    EXPECT_EQ(result.state, SignalState::error) << body;
    EXPECT_TRUE(result.series.empty());
    return result.reason;
  };
  EXPECT_EQ(reason(200, ""), "json");
  EXPECT_EQ(reason(503, "busy"), "status");
  EXPECT_EQ(reason(200, vector("")), "shape");
  for (const char* series :
       {"1", "{}", R"({"metric":{}})", R"({"metric":{},"values":1})", R"({"metric":{},"values":[1]})",
        R"({"metric":{},"values":[[1]]})", R"({"metric":{},"values":[[1,1]]})"}) {
    EXPECT_EQ(reason(200, matrix(series)), "shape") << series;
  }
  EXPECT_EQ(reason(422, R"({"status":"error","errorType":"execution","error":"too many samples"})"), "query");
}

TEST(QueryResult, RefusalsAreErrors) {
  EXPECT_EQ(reason_of(400, R"({"status":"error","errorType":"bad_data","error":"parse error"})"), "query");
  EXPECT_EQ(reason_of(503, R"({"status":"error","errorType":"timeout","error":"query timed out"})"), "timeout");
  EXPECT_EQ(reason_of(502, "<html>Bad Gateway</html>"), "status");
  EXPECT_EQ(reason_of(500, vector("")), "status");
}

TEST(QueryResult, MessageQuotesLittleAndNothingUnprintable) {
  const QueryResult result = parse_query_response(200, "\x01\n" + std::string(10'000, 'x'));
  EXPECT_LT(result.message.size(), 300u);
  EXPECT_EQ(result.message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace penstock::controller
