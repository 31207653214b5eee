#include "controller/signals/prometheus_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "controller/signals/signal_reader.h"
#include "penstock/runtime.h"

namespace penstock::controller {
namespace {

using testing::HasSubstr;

// A server that answers queries as the test says, and a reader that asks it, on one runtime.
class Asked : public testing::Test {
 protected:
  Asked() : server_(runtime_, {.port = 0, .serve_metrics = false, .admission = false}) {
    server_.route("POST", "/api/v1/query", [this](const http::Request& request) {
      body_ = std::string(request.body());
      return answer_(request);
    });
    thread_ = std::thread([this] { runtime_.run(); });
  }
  ~Asked() override {
    runtime_.stop();
    thread_.join();
  }

  template <class F>
  auto on_fiber(F f) {
    std::promise<decltype(f())> result;
    runtime_.spawn("test", [&] { result.set_value(f()); });
    return result.get_future().get();
  }
  QueryResult query(const std::string& promql) {
    return on_fiber([&] { return reader_->query(promql); });
  }
  double errors(const std::string& reason) {
    return runtime_.metrics().counter("penstock_controller_query_errors_total", "", {{"reason", reason}}).value();
  }
  void read_from(const std::string& url) {
    reader_ = std::make_unique<PrometheusReader>(client_, PrometheusOptions{url, std::chrono::milliseconds(300)},
                                                 runtime_.metrics());
  }

  Runtime runtime_{RuntimeOptions{.service = "controller", .threads = 1}};
  http::Client client_{runtime_, {.max_body_bytes = 64 * 1024}};
  http::Server server_;
  http::Handler answer_;
  std::string body_;
  std::unique_ptr<PrometheusReader> reader_;
  std::thread thread_;
};

constexpr const char* kOne = R"({"status":"success","data":{"resultType":"vector","result":[)"
                             R"({"metric":{"service":"shop","node":"n1","pool":"default"},"value":[1,"7"]}]}})";

TEST_F(Asked, PostsTheQueryEncodedAndReadsTheAnswer) {
  read_from("http://" + server_.address() + "/");
  answer_ = [](const http::Request&) { return http::Response::json(kOne); };
  const QueryResult result = query("sum(rate(x{a=\"b\"}[4s])) + 1");
  ASSERT_EQ(result.state, SignalState::value);
  EXPECT_EQ(result.samples.at(0).value, 7);
  EXPECT_THAT(body_, HasSubstr("query=sum%28rate%28x%7Ba%3D%22b%22%7D%5B4s%5D%29%29%20%2B%201&timeout=300ms"));
}

TEST_F(Asked, ErrorsAreCountedByReason) {
  read_from("http://" + server_.address());
  answer_ = [](const http::Request&) { return http::Response::html("<html>login</html>"); };
  EXPECT_EQ(query("up").reason, "json");
  EXPECT_EQ(errors("json"), 1);
  answer_ = [](const http::Request&) { return http::Response::text("no", 502); };
  EXPECT_EQ(query("up").reason, "status");
  EXPECT_EQ(errors("status"), 1);
  answer_ = [](const http::Request&) {
    sleep_for(std::chrono::seconds(5));
    return http::Response::json(kOne);
  };
  EXPECT_EQ(query("up").reason, "timeout");
  EXPECT_EQ(errors("timeout"), 1);
}

TEST_F(Asked, AnswerThatIsTooLargeIsAnError) {
  read_from("http://" + server_.address());
  answer_ = [](const http::Request&) { return http::Response::json(std::string(200 * 1024, ' ') + kOne); };
  EXPECT_EQ(query("up").state, SignalState::error);
}

TEST_F(Asked, NobodyThereIsAnError) {
  read_from("http://127.0.0.1:1");
  EXPECT_EQ(query("up").reason, "connect");
  EXPECT_EQ(errors("connect"), 1);
}

TEST_F(Asked, SignalsAreKeyedByServiceNodeAndPool) {
  read_from("http://" + server_.address());
  answer_ = [](const http::Request& request) {
    if (request.body().find("process_cpu") != std::string_view::npos) return http::Response::text("no", 500);
    return http::Response::json(kOne);
  };
  SignalReader signals(*reader_, std::chrono::milliseconds(1'000));
  const Signals read = on_fiber([&] { return signals.read(); });
  EXPECT_EQ(read.window, std::chrono::seconds(4));
  EXPECT_EQ(read.reading("pool_rate").state, SignalState::value);
  EXPECT_EQ(read.reading("node_cpu").state, SignalState::error);
  EXPECT_EQ(read.pools.at({{"shop", "n1"}, "default"}).rate, 7);
  EXPECT_EQ(read.nodes.at({"shop", "n1"}).age, 7);
  EXPECT_EQ(read.nodes.at({"shop", "n1"}).cpu, std::nullopt);
}

TEST_F(Asked, NumbersThatNothingMeasuredCanBeAreNoSignals) {
  read_from("http://" + server_.address());
  SignalReader signals(*reader_, std::chrono::milliseconds(1'000));
  std::string number;
  answer_ = [&](const http::Request&) {
    std::string one(kOne);
    return http::Response::json(one.replace(one.find("\"7\""), 3, "\"" + number + "\""));
  };
  for (const char* wrong : {"-1", "1e300", "NaN", "+Inf", "-Inf"}) {
    number = wrong;
    const Signals read = on_fiber([&] { return signals.read(); });
    const auto pool = read.pools.find({{"shop", "n1"}, "default"});
    EXPECT_TRUE(pool == read.pools.end() || (!pool->second.rate && !pool->second.latency)) << wrong;
    const auto node = read.nodes.find({"shop", "n1"});
    EXPECT_TRUE(node == read.nodes.end() || !node->second.age) << wrong;
  }
}

}  // namespace
}  // namespace penstock::controller
