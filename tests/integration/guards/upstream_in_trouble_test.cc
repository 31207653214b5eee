#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "penstock/fiber.h"
#include "penstock/http.h"
#include "penstock/runtime.h"
#include "penstock/spin_lock.h"
#include "penstock/sync.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/running_runtime.h"

// A node that calls a third party over real sockets: what its guards find out.
namespace penstock::http {
namespace {

using namespace std::chrono_literals;
using decision::Cause;
using ::testing::HasSubstr;

Instant now() { return std::chrono::steady_clock::now(); }

constexpr auto kWork = 100ms;

class UpstreamInTrouble : public ::testing::Test {
 protected:
  void start(bool shadow = false) {
    decision::UpstreamPolicy upstream{.name = "A", .hosts = {"127.0.0.1"}};
    upstream.timeout = 5s;
    decision::Policy policy;
    policy.service = "test";
    policy.shadow = shadow;
    policy.upstreams = {upstream};
    runtime->apply_policy(policy);
    // It is not the node's own pool that is tested.
    server.emplace(*runtime, ServerOptions{.port = 0, .admission = false});
    server->route("GET", "/", [this](const Request&) {
      if (!takes_one_more()) {
        Response refusal = Response::text("too many\n", 429);
        refusal.headers.emplace_back("Retry-After", "1");
        return refusal;
      }
      if (!capacity) {
        sleep_for(kWork);
      } else {
        places.acquire();
        sleep_for(kWork);
        places.release();
      }
      return Response::text("fine");
    });
    runtime.start();
    client.emplace(*runtime, ClientOptions{.retries = 0});
    url = "http://" + server->address() + "/";
  }

  // So many calls a second, each on a fiber of its own, until the test ends.
  void call(int rate) {
    load = runtime->spawn("load", [this, rate] {
      const Instant began = now();
      for (std::int64_t made = 0; !done; ++made) {
        sleep_until(began + made * std::chrono::nanoseconds(1s) / rate);
        ++calls;
        spawn("call", [this] {
          ++present;
          try {
            if (client->get(url).status == 200) ++answers;
          } catch (const std::exception&) {
          }
          --present;
        });
      }
    });
  }
  void TearDown() override {
    done = true;
    load.join();
    EXPECT_TRUE(eventually([&] { return present == 0; }));
  }

  // A rate, and no more than a tenth of a second at once.
  bool takes_one_more() {
    if (rate == 0) return true;
    const std::lock_guard guard(lock);
    const Instant at = now();
    tokens = std::min(rate / 10.0, tokens + rate * decision::seconds(at - filled));
    filled = at;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  }

  Runtime::UpstreamStats stats() {
    for (auto& stats : runtime->stats().upstreams) {
      if (stats.name == "A") return stats;
    }
    return {};
  }
  // Within half a minute.
  bool in_time(const std::function<bool()>& condition) {
    const Instant until = now() + 30s;
    while (!condition()) {
      if (now() > until) return false;
      std::this_thread::sleep_for(20ms);
    }
    return true;
  }
  double answers_a_second_over(std::chrono::milliseconds time) {
    const int before = answers;
    const Instant began = now();
    std::this_thread::sleep_for(time);
    return (answers - before) / decision::seconds(now() - began);
  }

  CapturedLog log;
  RunningRuntime runtime{2};
  std::optional<Server> server;
  std::optional<Client> client;
  std::string url;
  Fiber load;

  std::atomic<bool> capacity{false};
  Semaphore places{10};
  // Calls that the third party takes a second; 0: any.
  std::atomic<int> rate{0};
  SpinLock lock;
  double tokens = 0;
  Instant filled{};

  std::atomic<bool> done{false};
  std::atomic<int> calls{0}, answers{0}, present{0};
};

TEST_F(UpstreamInTrouble, ThatIsFullBecauseOfUsIsCalledAsMuchAsItBears) {
  start();
  call(150);
  // A usual latency, and something to compare with.
  ASSERT_TRUE(in_time([&] { return answers > 600; }));
  EXPECT_EQ(stats().limit, decision::LimitPolicy{}.max);
  capacity = true;
  ASSERT_TRUE(in_time([&] { return stats().cause == Cause::ours; })) << log.text();
  const auto found = stats();
  EXPECT_LT(found.limit, 200);
  EXPECT_EQ(found.bound_by, "cause");
  EXPECT_TRUE(in_time([&] { return answers_a_second_over(2s) > 80; })) << "of the hundred that it can serve";
  EXPECT_THAT(log.text(), HasSubstr("\"action\":\"test\",\"reason\":\"cut\""));
  EXPECT_THAT(log.text(), HasSubstr("\"verdict\":\"ours\""));
  EXPECT_THAT(runtime->metrics().text(), HasSubstr("penstock_upstream_cause{upstream=\"A\",verdict=\"ours\"} 1"));
  bool streamed = false;
  for (const NodeDecision& decision : runtime->take_decisions()) streamed = streamed || decision.verdict == "ours";
  EXPECT_TRUE(streamed);
  capacity = false;
  EXPECT_TRUE(in_time([&] { return stats().limit == decision::LimitPolicy{}.max; })) << "it can serve all again";
}

TEST_F(UpstreamInTrouble, IsLeftAloneByAShadowPolicyWhichTellsWhatItSees) {
  start(true);
  call(150);
  ASSERT_TRUE(in_time([&] { return answers > 600; }));
  capacity = true;
  ASSERT_TRUE(in_time([&] { return log.has("\"action\":\"test\""); }));
  EXPECT_TRUE(log.has("\"shadow\":true"));
  EXPECT_EQ(stats().rejected, 0u);
  EXPECT_EQ(stats().cause_state, decision::CauseState::free);
}

TEST_F(UpstreamInTrouble, ThatIsFullFromEveryoneIsObeyed) {
  start();
  call(150);
  ASSERT_TRUE(in_time([&] { return answers > 300; }));
  rate = 60;
  ASSERT_TRUE(in_time([&] { return stats().rate.has_value(); }));
  // It begins with what is under way, which is too much, and finds the rate.
  const auto begun = stats();
  ASSERT_TRUE(in_time([&] { return stats().ok > begun.ok + 120; })) << log.text();
  const auto before = stats();
  EXPECT_LT(before.refused - begun.refused, before.ok - begun.ok);
  ASSERT_TRUE(in_time([&] { return stats().ok > before.ok + 200; })) << log.text();
  const auto after = stats();
  EXPECT_LT(static_cast<double>(after.refused - before.refused), 0.2 * static_cast<double>(after.ok - before.ok));
  EXPECT_GT(after.rejected, before.rejected) << "the others are refused here";
  EXPECT_TRUE(log.has("\"action\":\"rate\",\"reason\":\"obeyed\",\"verdict\":\"full\""));
}

}  // namespace
}  // namespace penstock::http
