#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <future>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "tests/integration/agent/real_prometheus.h"
#include "tests/integration/agent/shop_node.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock {
namespace {

using controller::ControllerProcess;
using std::chrono::milliseconds;
using std::chrono::seconds;

// GETs from outside of the node, 50 each second, each on a fiber of its own.
class Users {
 public:
  explicit Users(std::string url) : url_(std::move(url)) {
    thread_ = std::thread([this] { runtime_.run(); });
    runtime_.spawn("arrivals", [this] {
      while (!stopping_) {
        spawn("user", [this] {
          try {
            client_.get(url_);
          } catch (const std::exception&) {
            ++failed;
          }
        });
        sleep_for(milliseconds(20));
      }
    });
  }
  ~Users() {
    stopping_ = true;
    runtime_.stop();
    thread_.join();
  }
  // The text of one GET, from any thread; empty when it failed.
  std::string get(const std::string& url) {
    std::promise<std::string> result;
    runtime_.spawn("get", [&] {
      try {
        result.set_value(client_.get(url).body);
      } catch (const std::exception&) {
        result.set_value("");
      }
    });
    return result.get_future().get();
  }

  std::atomic<int> failed{0};

 private:
  Runtime runtime_{RuntimeOptions{.service = "users", .threads = 1, .drain_grace = milliseconds(100)}};
  http::Client client_{runtime_};
  std::string url_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// Controller, Prometheus, one node that takes 100 ms for a request, and users; the limit has settled.
class Settled : public testing::Test {
 protected:
  Settled() {
    v1::Policy policy;
    policy.mutable_metadata()->set_name("shop");
    policy.mutable_spec()->set_service("shop");
    v1::Pool& pool = *policy.mutable_spec()->add_pools();
    pool.set_name("default");
    pool.set_min(10);
    pool.set_fallback_limit(400);
    pool.mutable_sizing()->set_headroom(2);
    pool.mutable_sizing()->mutable_reaction()->set_seconds(1);
    EXPECT_EQ(hand_.apply(policy), "");
    node_.latency = milliseconds(100);
  }
  double number(const google::protobuf::Struct& evidence, const std::string& name) {
    const auto found = evidence.fields().find(name);
    return found == evidence.fields().end() ? -1 : found->second.number_value();
  }
  // Whether the newest decision on the pool is to hold for a reason that begins so.
  bool held(const std::string& reason) {
    const auto decisions = hand_.decisions("pool");
    return decisions.decisions_size() > 0 && decisions.decisions(0).action() == "hold" &&
           decisions.decisions(0).reason().rfind(reason, 0) == 0;
  }
  std::string metrics() { return users_.get("http://" + controller_.http() + "/metrics"); }

  controller::TemporaryDirectory directory_;
  std::uint16_t port_ = free_port();
  ControllerProcess controller_{
      directory_.path(),
      {"--prometheus", "http://127.0.0.1:" + std::to_string(port_), "--scrape-interval", "250ms", "--period", "250ms"}};
  Operator hand_{controller_};
  ShopNode node_{controller_.grpc()};
  Prometheus prometheus_{directory_.path(), port_, controller_.http()};
  Users users_{"http://" + node_.address() + "/"};
};

TEST_F(Settled, LimitFollowsPrometheusAndHoldsWithoutIt) {
  // 50/s x 1 s + 2 x 50/s x 0.1 s = 60
  ASSERT_TRUE(eventually([&] { return node_.limit() < 90; }, seconds(40))) << node_.limit() << controller_.log();
  EXPECT_GE(node_.limit(), 40);
  EXPECT_EQ(users_.get("http://" + controller_.http() + "/readyz"), "ready\n");
  EXPECT_THAT(users_.get("http://" + controller_.http() + "/sd"), testing::HasSubstr(node_.address()));

  // The third party of this service slows down: 50 + 2 x 50 x 1 = 150
  node_.latency = milliseconds(1'000);
  ASSERT_TRUE(eventually([&] { return node_.limit() > 125; }, seconds(30))) << node_.limit() << controller_.log();
  // The requests in flight are seen before the latency of those that end: the decision may rest on either.
  v1::WhyResponse why;
  const auto slow = [&] {
    why = hand_.why("pool", "default");
    return std::regex_search(why.summary(), std::regex("/s at (0\\.[3-9]|[1-9])[0-9.]*s"));
  };
  EXPECT_TRUE(eventually(slow)) << why.DebugString();
  EXPECT_NEAR(number(why.evidence(), "rate"), 50, 15) << why.DebugString();
  EXPECT_GT(number(why.evidence(), "latency_seconds"), 0.05);
  EXPECT_GT(number(why.evidence(), "result"), 100);
  std::string steps;
  for (const auto& step : why.steps()) steps += step + "\n";
  EXPECT_THAT(steps, testing::HasSubstr("x headroom 2"));
  EXPECT_THAT(metrics(), testing::HasSubstr("penstock_controller_decisions_total{"));
  EXPECT_EQ(users_.failed, 0);

  // Prometheus dies: what is in force stays, though the load is another one now.
  prometheus_.end();
  ASSERT_TRUE(eventually([&] { return held("prometheus_connect"); }));
  const int limit = node_.limit();
  node_.latency = milliseconds(10);
  const auto failures = [&] {
    std::smatch found;
    const std::string text = metrics();
    const std::regex line("query_errors_total\\{reason=\"connect\"\\} (\\d+)");
    return std::regex_search(text, found, line) ? std::stoi(found[1]) : 0;
  };
  const int before = failures();
  EXPECT_TRUE(eventually([&] { return failures() >= before + 20; })) << "turns without Prometheus are not counted";
  EXPECT_EQ(node_.limit(), limit);

  // Something else answers in its place.
  Runtime runtime({.service = "garbage", .threads = 1, .drain_grace = milliseconds(100)});
  http::Server garbage(runtime, {.port = port_, .admission = false});
  garbage.route("POST", "/api/v1/query",
                [](const http::Request&) { return http::Response::html("<html>{\"status\":\"success\"</html>"); });
  std::thread thread([&] { runtime.run(); });
  EXPECT_TRUE(eventually([&] { return held("prometheus_json"); }));
  EXPECT_EQ(node_.limit(), limit);
  EXPECT_THAT(metrics(), testing::ContainsRegex("query_errors_total\\{reason=\"json\"\\} [1-9]"));
  runtime.stop();
  thread.join();
}

// What penstockctl prints on stdout; its exit code.
std::pair<std::string, int> penstockctl(const std::string& arguments) {
  FILE* pipe = ::popen((std::string(PENSTOCKCTL) + " " + arguments + " 2>&1").c_str(), "r");
  std::string text;
  char part[4096];
  while (const std::size_t read = std::fread(part, 1, sizeof part, pipe)) text.append(part, read);
  const int status = ::pclose(pipe);
  return {text, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

TEST_F(Settled, AnotherPolicyIsTriedInShadowAndOnWhatWasRecorded) {
  const std::string file = directory_.path() + "/next.yaml";
  std::ofstream(file) << "kind: Policy\nmetadata: {name: next}\nspec:\n  service: shop\n  mode: shadow\n"
                         "  pools:\n    - {name: default, min: 300, sizing: {headroom: 2, reaction: 1s}}\n";
  const std::string to = " --controller " + controller_.grpc();
  const auto [applied, code] = penstockctl("apply -f " + file + to);
  ASSERT_EQ(code, 0) << applied;
  ASSERT_TRUE(eventually([&] { return node_.limit() < 90; }, seconds(40))) << node_.limit() << controller_.log();

  EXPECT_THAT(penstockctl("apply --wait -f " + file + to).first,
              testing::HasSubstr("policy/next in SHADOW on 1 of 1 nodes"));

  std::pair<std::string, int> diff;
  const auto differ = [&] {
    diff = penstockctl("diff --decisions" + to);
    return diff.second == 1 && diff.first.find("limit 300") != std::string::npos;
  };
  EXPECT_TRUE(eventually(differ)) << diff.first;
  EXPECT_THAT(diff.first, testing::ContainsRegex("pool/default +n1 .*limit [0-9]+ +limit 300 +next"));
  EXPECT_LT(node_.limit(), 90) << "a shadow moves nothing";

  const auto [json, replayed] = penstockctl("simulate --from 60s --step 1s -o json -f " + file +
                                            " --prometheus http://127.0.0.1:" + std::to_string(port_) + to);
  ASSERT_EQ(replayed, 0) << json;
  boost::system::error_code failure;
  const auto document = boost::json::parse(json, failure);
  ASSERT_FALSE(failure) << json;
  const auto& would = document.at("would_decide").as_array();
  ASSERT_FALSE(would.empty()) << json;
  EXPECT_EQ(would.back().at("result").to_number<double>(), 300) << json;
  EXPECT_EQ(would.back().at("policy").as_string(), "next");
  bool acted = false;
  for (const auto& decision : document.at("decided").as_array()) acted |= decision.at("policy").as_string() == "shop";
  EXPECT_TRUE(acted) << "beside what was decided: " << json;
  EXPECT_FALSE(document.at("unknown").as_array().empty());

  prometheus_.end();
  const auto [error, unreachable] =
      penstockctl("simulate --from 60s -f " + file + " --prometheus http://127.0.0.1:" + std::to_string(port_) + to);
  EXPECT_EQ(unreachable, 4) << error;
}

}  // namespace
}  // namespace penstock
