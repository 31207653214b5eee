#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <string>

#include "penstock/fiber.h"
#include "runtime/fiber/fiber_state.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

void burn(Duration d) {
  const Instant until = Clock::now() + d;
  while (Clock::now() < until) {
  }
}

Duration waited_for(const RequestAccount& account, const std::string* upstream) {
  for (const auto& [name, sum] : account.waiting) {
    if (name == upstream) return sum;
  }
  return {};
}

Duration total(const RequestAccount& account) {
  Duration sum = account.running + account.ready;
  for (const auto& [name, waited] : account.waiting) sum += waited;
  return sum;
}

TEST(Accounting, TellsRunningReadyAndWaitingApart) {
  Threads threads;
  threads.run([] {
    const std::string payments = "payments";
    auto account = std::make_shared<RequestAccount>();
    Duration took{};
    Fiber request = spawn("request", [&] {
      const Instant start = Clock::now();
      set_account(account);
      burn(10ms);
      current().upstream = &payments;
      sleep_for(30ms);
      current().upstream = nullptr;
      sleep_for(20ms);
      penstock::yield();  // While another fiber holds the thread.
      set_account(nullptr);
      took = Clock::now() - start;
      burn(5ms);
    });
    Fiber hog = spawn("hog", [] {
      sleep_for(58ms);
      burn(15ms);
    });
    request.join();
    hog.join();
    EXPECT_GE(account->running, 10ms);
    EXPECT_GE(waited_for(*account, &payments), 25ms);
    EXPECT_GE(waited_for(*account, nullptr), 15ms);
    // All the time of the request, and nothing twice.
    EXPECT_GE(total(*account), took - 1ms);
    EXPECT_LE(total(*account), took + 1ms);
  });
}

TEST(Accounting, ReadyIsTimeThatAnotherFiberHadTheThread) {
  Threads threads;
  threads.run([] {
    auto account = std::make_shared<RequestAccount>();
    Fiber request = spawn("request", [&] {
      set_account(account);
      penstock::yield();
      set_account(nullptr);
    });
    Fiber hog = spawn("hog", [] { burn(20ms); });
    request.join();
    hog.join();
    EXPECT_GE(account->ready, 18ms);
    EXPECT_LT(account->running, 18ms);
  });
}

TEST(Accounting, SpawnedFibersCountToTheSameRequest) {
  Threads threads;
  threads.run([] {
    const std::string upstream = "stock";
    auto account = std::make_shared<RequestAccount>();
    Fiber request = spawn("request", [&] {
      set_account(account);
      Fiber part = spawn("part", [&] {
        current().upstream = &upstream;
        sleep_for(20ms);
        burn(5ms);
      });
      part.join();
      set_account(nullptr);
    });
    request.join();
    EXPECT_GE(waited_for(*account, &upstream), 18ms);
    EXPECT_GE(waited_for(*account, nullptr), 18ms) << "the request waited for its part";
    EXPECT_GE(account->running, 5ms);
  });
}

TEST(Accounting, AnEndedFiberAddsItsLastStretch) {
  Threads threads;
  threads.run([] {
    auto account = std::make_shared<RequestAccount>();
    Fiber request = spawn("request", [&] {
      set_account(account);
      burn(10ms);
    });
    request.join();
    EXPECT_GE(account->running, 10ms);
    EXPECT_EQ(account.use_count(), 1);
  });
}

}  // namespace
}  // namespace penstock::fiber
