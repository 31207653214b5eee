#include "controller/http/http_face.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/json.hpp>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "controller/store/store.h"
#include "penstock/runtime.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using testing::HasSubstr;

// A controller's HTTP with one connected node and one decision in the log; no Prometheus listens.
class Served : public testing::Test {
 protected:
  Served() {
    v1::Hello hello;
    hello.set_service("shop");
    hello.set_node("n1");
    hello.set_metrics_address("127.0.0.1:9000");
    session_ = fleet_.connect(
        hello, [] {}, [] {});
    v1::Decision decision;
    decision.set_kind("pool");
    decision.set_name("default");
    decision.set_action("resize");
    log_.append(decision);
    thread_ = std::thread([this] { runtime_.run(); });
  }
  ~Served() override {
    runtime_.stop();
    thread_.join();
  }
  http::Response get(const std::string& path, std::string_view method = "GET") {
    std::promise<http::Response> result;
    runtime_.spawn("get",
                   [&] { result.set_value(client_.request(method, "http://" + face_.address() + path, "", {})); });
    return result.get_future().get();
  }

  TemporaryDirectory directory_;
  Clock& clock_ = system_clock();
  std::unique_ptr<Store> store_ = std::move(Store::open(directory_.path(), clock_)).value();
  DecisionLog log_{*store_, clock_, std::chrono::hours(1)};
  Fleet fleet_{clock_};
  Runtime runtime_{RuntimeOptions{.service = "controller", .threads = 1}};
  http::Client client_{runtime_};
  PrometheusReader prometheus_{client_, {.url = "http://127.0.0.1:1"}, runtime_.metrics()};
  std::atomic<bool> ready_{false};
  HttpFace face_{runtime_,
                 {.port = 0},
                 {.fleet = fleet_,
                  .decisions = log_,
                  .prometheus = prometheus_,
                  .status =
                      [] {
                        v1::ControllerStatus status;
                        status.set_version("1.2.3");
                        return status;
                      },
                  .ready = [this] { return ready_ ? absl::OkStatus() : absl::UnavailableError("not yet"); }}};
  std::uint64_t session_ = 0;
  std::thread thread_;
};

TEST_F(Served, DiscoveryListsTheNodesThatHoldALease) {
  http::Response response = get("/sd");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "[]");
  fleet_.record_ack({"shop", "n1"}, session_, fleet_.effective({"shop", "n1"}), clock_.now() + std::chrono::minutes(1));
  response = get("/sd");
  EXPECT_THAT(response.header("Content-Type"), HasSubstr("application/json"));
  EXPECT_EQ(response.body, R"([{"targets":["127.0.0.1:9000"],"labels":{"service":"shop","node":"n1"}}])");
}

TEST_F(Served, ReadinessSaysWhyNot) {
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_THAT(get("/readyz").body, HasSubstr("not yet"));
  ready_ = true;
  EXPECT_EQ(get("/readyz").status, 200);
  EXPECT_EQ(get("/healthz").status, 200);
}

TEST_F(Served, StatusAndDecisionsAreJson) {
  EXPECT_EQ(boost::json::parse(get("/api/status").body).at("version").as_string(), "1.2.3");
  const auto decisions = boost::json::parse(get("/api/decisions?kind=pool&since=2026-01-01T00:00:00Z").body);
  EXPECT_EQ(decisions.at("decisions").at(0).at("action").as_string(), "resize");
  EXPECT_TRUE(boost::json::parse(get("/api/decisions?kind=node").body).at("decisions").as_array().empty());
  EXPECT_EQ(get("/api/decisions?since=yesterday").status, 400);
  EXPECT_EQ(get("/api/decisions?limit=0").status, 400);
}

TEST_F(Served, OnlyTwoEndpointsOfPrometheusCanBeReachedAndOnlyToRead) {
  const http::Response refused = get("/api/prometheus/query?query=up");
  EXPECT_EQ(refused.status, 502);
  EXPECT_THAT(boost::json::parse(refused.body).at("error").as_string().c_str(), HasSubstr("127.0.0.1:1"));
  EXPECT_EQ(get("/api/prometheus/query").status, 400);
  EXPECT_EQ(get("/api/prometheus/query?query=up", "POST").status, 405);
  EXPECT_EQ(get("/api/prometheus/admin/tsdb/delete_series?match=up").status, 404);
}

TEST_F(Served, ConsoleIsBuiltInAndGuarded) {
  const http::Response page = get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, HasSubstr("/console/console.js"));
  EXPECT_THAT(page.header("Content-Security-Policy"), HasSubstr("default-src 'self'"));
  EXPECT_EQ(page.header("X-Content-Type-Options"), "nosniff");
  EXPECT_THAT(get("/console/console.js").header("Content-Type"), HasSubstr("text/javascript"));
  EXPECT_THAT(get("/console/uplot.js").body, HasSubstr("uPlot"));
  EXPECT_EQ(get("/console/../../etc/passwd").status, 404);
  EXPECT_EQ(get("/console/nothing").status, 404);
}

TEST_F(Served, DashboardsAreThoseOfGrafana) {
  const auto list = boost::json::parse(get("/api/dashboards").body);
  EXPECT_EQ(list.at("scrapeIntervalSeconds").to_number<double>(), 1);
  ASSERT_EQ(list.at("dashboards").as_array().size(), 2u);
  const std::string name = list.at("dashboards").at(0).at("name").as_string().c_str();
  EXPECT_FALSE(boost::json::parse(get("/api/dashboards/" + name).body).at("panels").as_array().empty());
  EXPECT_EQ(get("/api/dashboards/other").status, 404);
}

}  // namespace
}  // namespace penstock::controller
