#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/net/sockets.h"
#include "tests/unit/runtime/waits/hopeless_waits.h"

namespace penstock {

void PrintTo(const HopelessWait& wait, std::ostream* out) { *out << wait.name; }

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class EveryWait : public testing::TestWithParam<HopelessWait> {
 protected:
  EveryWait() : runtime_(std::in_place, RuntimeOptions{.service = "test", .threads = 1, .offload_threads = 1}) {
    decision::Policy policy;
    policy.service = "test";
    policy.pools = {{.name = "default"}, {.name = "one", .min = 1, .max = 1}};
    policy.upstreams = {{.name = "one", .hosts = {"one.test"}, .limit = {.min = 1, .max = 1}}};
    runtime_->apply_policy(policy);
  }

  // The wait on a fiber beside the one that made it wait; at the end there are no more fibers nor descriptors than
  // before.
  void run(const Interrupted& interrupted) {
    Event ended;
    runtime_->spawn("test", [&] {
      const auto fibers = runtime_->stats().fibers;
      const auto descriptors = net::open_descriptors();
      GetParam().wait(*runtime_, interrupted);
      EXPECT_TRUE(eventually([&] { return runtime_->stats().fibers <= fibers; }));
      // The resolver keeps its socket for a while.
      if (std::string(GetParam().name).find("Resolve") == std::string::npos) {
        EXPECT_TRUE(eventually([&] { return net::open_descriptors() <= descriptors; }))
            << net::open_descriptors() << " instead of " << descriptors;
      }
      ended.set();
    });
    const bool in_time = ended.wait_until(Clock::now() + 30s);
    EXPECT_TRUE(in_time) << "it waits on";
    // Before what the fiber refers to goes.
    if (!in_time) runtime_.reset();
  }
  static void expect_deadline(const std::function<void()>& wait, bool refused) {
    try {
      wait();
      ADD_FAILURE() << "it did not wait";
    } catch (const DeadlineExceeded&) {
      EXPECT_FALSE(refused);
    } catch (const Rejected& e) {
      EXPECT_TRUE(refused);
      EXPECT_EQ(e.reason(), RejectReason::deadline);
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
  }

  std::optional<Runtime> runtime_;
};

TEST_P(EveryWait, TimesOutAtTheDeadline) {
  run([](const std::function<void()>& wait) {
    const Instant until = Clock::now() + 20ms;
    Fiber waiting = spawn("waiting", [&] {
      const DeadlineScope deadline(until);
      expect_deadline(wait, GetParam().refuses == HopelessWait::at_the_deadline);
    });
    waiting.join();
    EXPECT_GE(Clock::now(), until - 5ms);
    EXPECT_LT(Clock::now(), until + 10s);
  });
}

TEST_P(EveryWait, TimesOutAtADeadlineThatHasPassed) {
  run([](const std::function<void()>& wait) {
    Fiber waiting = spawn("waiting", [&] {
      const DeadlineScope deadline(Clock::now() - 1ms);
      expect_deadline(wait, GetParam().refuses != HopelessWait::never);
    });
    waiting.join();
  });
}

TEST_P(EveryWait, IsEndedByCancel) {
  run([](const std::function<void()>& wait) {
    Fiber waiting = spawn("waiting", [&] { EXPECT_THROW(wait(), Cancelled); });
    // By then it waits; if not, it is as the next test has it.
    sleep_for(20ms);
    EXPECT_FALSE(waiting.done());
    waiting.cancel();
    waiting.join();
  });
}

TEST_P(EveryWait, DoesNotBeginOnACancelledFiber) {
  run([](const std::function<void()>& wait) {
    Fiber waiting = spawn("waiting", [&] { EXPECT_THROW(wait(), Cancelled); });
    waiting.cancel();
    waiting.join();
  });
}

INSTANTIATE_TEST_SUITE_P(Table, EveryWait, testing::ValuesIn(hopeless_waits()),
                         [](const auto& info) { return std::string(info.param.name); });

// The one wait that nothing ends: what fn refers to must stay until it returns. The next wait throws.
TEST(OffloadWait, LastsUntilTheCallReturns) {
  Runtime runtime({.threads = 1});
  std::atomic<bool> over{false};
  Event ended;
  runtime.spawn("test", [&] {
    Fiber waiting = spawn("waiting", [&] {
      const DeadlineScope deadline(Clock::now() + 5ms);
      bool returned = false;
      runtime.offload([&] {
        while (!over) ::usleep(1000);
        returned = true;
      });
      EXPECT_TRUE(returned);
      EXPECT_THROW(check_interrupts(), Cancelled);
    });
    sleep_for(20ms);
    waiting.cancel();
    sleep_for(5ms);
    EXPECT_FALSE(waiting.done());
    over = true;
    waiting.join();
    ended.set();
  });
  EXPECT_TRUE(ended.wait_until(Clock::now() + 30s));
}

}  // namespace
}  // namespace penstock
