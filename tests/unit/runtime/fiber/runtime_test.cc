#include "penstock/runtime.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/runtime_state.h"
#include "tests/unit/runtime/captured_log.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

std::size_t open_descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

template <class Condition>
bool comes_true(Condition condition) {
  const Instant give_up = Clock::now() + 10s;
  while (!condition()) {
    if (Clock::now() > give_up) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// By number of scheduler threads; no descriptor is left at the end.
class RuntimeOf : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override { descriptors_ = open_descriptors(); }
  void TearDown() override { EXPECT_EQ(open_descriptors(), descriptors_); }

  RuntimeOptions options(std::chrono::milliseconds grace = 5s) const {
    return {.service = "test", .threads = GetParam(), .drain_grace = grace};
  }
  std::size_t descriptors_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Threads, RuntimeOf, testing::Values(1, 2, 4));

TEST_P(RuntimeOf, EndsWithoutRun) {
  std::atomic<bool> cancelled = false;
  std::atomic<bool> started = false;
  {
    Runtime runtime(options());
    EXPECT_EQ(runtime.threads(), GetParam());
    runtime.spawn("left", [&] {
      started = true;
      try {
        sleep_for(1h);
      } catch (const Cancelled&) {
        cancelled = true;
      }
    });
    EXPECT_TRUE(comes_true([&] { return started.load(); }));
  }
  EXPECT_TRUE(cancelled);
}

TEST_P(RuntimeOf, SpawnTakesTheThreadsInTurn) {
  Runtime runtime(options());
  std::mutex mutex;
  std::multiset<unsigned> used;
  for (unsigned i = 0; i < 3 * runtime.threads(); ++i) {
    runtime.spawn("counting", [&] {
      std::lock_guard lock(mutex);
      used.insert(fiber::thread_index());
    });
  }
  EXPECT_TRUE(comes_true([&] {
    std::lock_guard lock(mutex);
    return used.size() == 3 * runtime.threads();
  }));
  for (unsigned i = 0; i < runtime.threads(); ++i) EXPECT_EQ(used.count(i), 3u);
}

TEST_P(RuntimeOf, StopDrainsWhatIsInFlight) {
  Runtime runtime(options());
  std::atomic<bool> begun = false, ended = false, finished = false, working = false;
  runtime.on_drain([&] { begun = true; },
                   [&] {
                     EXPECT_TRUE(finished);
                     ended = true;
                   });
  runtime.spawn("request", [&] {
    RuntimeAccess::Work work(runtime);
    working = true;
    while (!begun) sleep_for(1ms);
    EXPECT_TRUE(runtime.draining());
    sleep_for(20ms);
    finished = true;
  });
  std::thread stopper([&] {
    EXPECT_TRUE(comes_true([&] { return working.load(); }));
    EXPECT_FALSE(runtime.draining());
    runtime.stop();
  });
  runtime.run();
  stopper.join();
  EXPECT_TRUE(finished);
  EXPECT_TRUE(ended);
  EXPECT_EQ(RuntimeAccess::fibers(runtime), 0u);
  EXPECT_THROW(runtime.spawn("late", [] {}), std::logic_error);
}

TEST_P(RuntimeOf, RequestsThatOutlastTheGraceAreCancelled) {
  Runtime runtime(options(30ms));
  std::atomic<bool> cancelled = false;
  runtime.spawn("request", [&] {
    RuntimeAccess::Work work(runtime);
    runtime.stop();
    try {
      sleep_for(1h);
    } catch (const Cancelled&) {
      cancelled = true;
    }
  });
  const Instant start = Clock::now();
  runtime.run();
  EXPECT_TRUE(cancelled);
  EXPECT_GE(Clock::now() - start, 25ms);
  EXPECT_LT(Clock::now() - start, 5s);
}

TEST_P(RuntimeOf, SignalDrainsAndASecondOneEndsTheDrain) {
  Runtime runtime(options(1h));
  std::atomic<bool> cancelled = false;
  runtime.on_drain([&] { ::kill(::getpid(), SIGINT); });
  runtime.spawn("request", [&] {
    RuntimeAccess::Work work(runtime);
    ::kill(::getpid(), SIGTERM);
    try {
      sleep_for(1h);
    } catch (const Cancelled&) {
      cancelled = true;
    }
  });
  runtime.run();
  EXPECT_TRUE(cancelled);
}

TEST_P(RuntimeOf, DrainCallbacksThatComeLateAreCalled) {
  Runtime runtime(options());
  int begun = 0, ended = 0;
  runtime.stop();
  runtime.run();
  runtime.on_drain([&] { ++begun; }, [&] { ++ended; });
  EXPECT_EQ(begun, 1);
  EXPECT_EQ(ended, 1);
}

TEST_P(RuntimeOf, LeaseCanDrainAndTakeItBack) {
  Runtime runtime(options());
  runtime.set_draining(true);
  EXPECT_TRUE(runtime.draining());
  EXPECT_FALSE(RuntimeAccess::stopping(runtime));
  runtime.set_draining(false);
  EXPECT_FALSE(runtime.draining());
}

TEST_P(RuntimeOf, OffloadKeepsTheThreadFree) {
  Runtime runtime(options());
  std::atomic<bool> done = false;
  runtime.spawn_on(0, "caller", [&] {
    std::atomic<bool> release = false;
    Fiber other = spawn("other", [&] { release = true; });
    runtime.offload([&] {
      while (!release) std::this_thread::yield();
    });
    other.join();
    done = true;
  });
  EXPECT_TRUE(comes_true([&] { return done.load(); }));
}

TEST_P(RuntimeOf, OffloadReturnsWhatItsFunctionReturns) {
  Runtime runtime(options());
  auto owned = std::make_unique<int>(7);
  // What a fiber runs may own what it captures.
  runtime
      .spawn("caller",
             [&runtime, owned = std::move(owned)] {
               const std::unique_ptr<int> sum = runtime.offload([&] { return std::make_unique<int>(*owned + 1); });
               EXPECT_EQ(*sum, 8);
               EXPECT_THROW(runtime.offload([]() -> int { throw std::out_of_range("no"); }), std::out_of_range);
             })
      .join();
}

TEST_P(RuntimeOf, ManyFibersOverAllThreads) {
  Runtime runtime(options());
#ifdef __SANITIZE_THREAD__
  // Fibers cost it as much as threads.
  constexpr int kFibers = 500;
#else
  constexpr int kFibers = 5'000;
#endif
  std::atomic<int> ended = 0;
  for (int i = 0; i < kFibers; ++i) {
    runtime.spawn("many", [&] {
      sleep_for(10ms);
      ++ended;
    });
  }
  EXPECT_TRUE(comes_true([&] { return ended == kFibers; }));
  // All but the policy's ticker.
  EXPECT_TRUE(comes_true([&] { return RuntimeAccess::fibers(runtime) <= 1; }));
}

TEST(RuntimeLog, GoesToStderrUnlessTheProgramSaysOtherwise) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  {
    const Runtime runtime({.service = "test", .threads = 1});
    spdlog::warn("for operators");
    spdlog::default_logger()->flush();
  }
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("for operators"), std::string::npos);

  const CapturedLog chosen;
  const Runtime runtime({.service = "test", .threads = 1});
  spdlog::warn("for the file");
  EXPECT_TRUE(chosen.has("for the file"));
}

TEST(RuntimeEnd, FindsAllThreadsWhoEndsLast) {
  std::atomic<int> started = 0;
  std::atomic<int> asked = 0;
  {
    Runtime runtime({.service = "test", .threads = 4});
    for (unsigned thread = 0; thread < 4; ++thread) {
      runtime.spawn_on(thread, "cleans up", [&, thread] {
        ++started;
        const CancelShield shield;
        // The last thread's fiber is there when the others have long ended.
        sleep_for(20ms * (thread + 1));
        try {
          runtime.spawn_on(0, "late", [] {});
        } catch (const std::logic_error&) {
        }
        EXPECT_GE(RuntimeAccess::fibers(runtime), 1u);
        ++asked;
      });
    }
    EXPECT_TRUE(comes_true([&] { return started == 4; }));
  }
  EXPECT_EQ(asked, 4);
}

TEST(RuntimeOptions, AreRefusedByName) {
  const auto refused = [](RuntimeOptions options, const std::string& field) {
    try {
      Runtime runtime(std::move(options));
      ADD_FAILURE() << field;
    } catch (const std::invalid_argument& e) {
      EXPECT_NE(std::string(e.what()).find(field), std::string::npos) << e.what();
    }
  };
  refused({.service = ""}, "service");
  refused({.threads = 100'000}, "threads");
  refused({.stack_bytes = 100}, "stack_bytes");
  refused({.drain_grace = -1ms}, "drain_grace");
}

}  // namespace
}  // namespace penstock
