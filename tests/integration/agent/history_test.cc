#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "tests/integration/agent/calling_node.h"
#include "tests/integration/agent/real_prometheus.h"
#include "tests/integration/agent/shop_node.h"
#include "tests/unit/controller/temporary_directory.h"

// A real Prometheus that recorded nine days, a real controller that begins now, and a node that begins while a third
// party is slow.
namespace penstock {
namespace {

using controller::ControllerProcess;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr int kDays = 9;

// Every five minutes up to now: 20 calls a second to A, of 4 ms each and of 8 ms in the last day; 50 requests a second.
void record(const std::string& directory) {
  constexpr long kStep = 300;
  const long now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::ofstream out(directory + "/recorded.txt");
  const auto write = [&](const char* family, const char* labels, auto rate) {
    out << "# TYPE " << family << " counter\n";
    double total = 0;
    for (long at = now - kDays * 86400; at <= now; at += kStep) {
      total += rate(at) * kStep;
      out << family << "_total{service=\"shop\",node=\"old\"," << labels << "} " << total << " " << at << "\n";
    }
  };
  write("penstock_upstream_requests", R"(upstream="A",outcome="ok")", [](long) { return 20.0; });
  write("penstock_upstream_ok_seconds", R"(upstream="A")",
        [&](long at) { return 20 * (at > now - 86400 ? 0.008 : 0.004); });
  write("penstock_pool_requests", R"(pool="default",outcome="admitted")", [](long) { return 50.0; });
  out << "# EOF\n";
  out.close();
  const std::string command = std::string(PROMTOOL) + " tsdb create-blocks-from openmetrics " + directory +
                              "/recorded.txt " + directory + "/tsdb >" + directory + "/promtool.log 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0);
}

class NineRecordedDays : public testing::Test {
 protected:
  NineRecordedDays() {
    record(directory_.path());
    prometheus_ = std::make_unique<Prometheus>(directory_.path(), port_, controller_.http());
    v1::Policy policy;
    policy.mutable_metadata()->set_name("shop");
    policy.mutable_spec()->set_service("shop");
    v1::Upstream& upstream = *policy.mutable_spec()->add_upstreams();
    upstream.set_name("A");
    upstream.mutable_match()->add_hosts(third_party_.address());
    EXPECT_EQ(hand_.apply(policy), "");
  }
  std::string why(const std::string& kind, const std::string& name) {
    std::string text;
    const v1::WhyResponse response = hand_.why(kind, name);
    for (const auto& step : response.steps()) text += step + "\n";
    return text;
  }

  controller::TemporaryDirectory directory_;
  // Takes 50 ms.
  ThirdParty third_party_;
  std::uint16_t port_ = free_port();
  ControllerProcess controller_{
      directory_.path(),
      {"--prometheus", "http://127.0.0.1:" + std::to_string(port_), "--scrape-interval", "250ms", "--history", "240h"}};
  Operator hand_{controller_};
  std::unique_ptr<Prometheus> prometheus_;
};

TEST_F(NineRecordedDays, TellANodeThatBeginsInTroubleThatItIsTrouble) {
  ASSERT_TRUE(eventually([&] { return why("upstream", "A").find("1 week ago") != std::string::npos; }, seconds(90)))
      << why("upstream", "A") << controller_.log();
  EXPECT_THAT(why("upstream", "A"), HasSubstr("history: 0.008s expected at this hour"));
  EXPECT_THAT(why("upstream", "A"), HasSubstr("the last day 2.00 x what it was 1 week ago"));
  EXPECT_THAT(why("pool", "default"), HasSubstr("history: 50.0/s expected at this hour"));

  v1::Decision drift;
  const auto told = [&] {
    const v1::ListDecisionsResponse all = hand_.decisions("upstream");
    for (const auto& decision : all.decisions())
      if (decision.action() == "drift") drift = decision;
    return drift.action() == "drift";
  };
  ASSERT_TRUE(eventually(told, seconds(60))) << controller_.log();
  EXPECT_EQ(drift.reason(), "slower");
  EXPECT_NEAR(drift.evidence().fields().at("ratio").number_value(), 2, 0.1) << drift.DebugString();

  CallingNode node(controller_.grpc(), "n1", third_party_.address());
  ASSERT_TRUE(eventually([&] { return node.stats().ok > 200; }, seconds(60))) << controller_.log();
  const Runtime::UpstreamStats stats = node.stats();
  EXPECT_EQ(stats.expected_latency, milliseconds(8));
  EXPECT_LE(stats.usual_latency, milliseconds(16));
  EXPECT_TRUE(stats.in_trouble);
  EXPECT_THAT(why("upstream", "A"), testing::ContainsRegex("n1: .*latency 0.05.*s, usually 0.0"));
}

}  // namespace
}  // namespace penstock
