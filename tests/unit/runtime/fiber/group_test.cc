#include "penstock/group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/fiber/fiber_state.h"
#include "tests/unit/runtime/fiber/crew.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Waits until it is cancelled.
void wait_for_ever() { Event().wait(); }

TEST(Group, JoinWaitsForAll) {
  Threads threads;
  threads.run([] {
    Group group;
    group.join();
    int ended = 0;
    for (int i = 0; i < 10; ++i) {
      group.spawn("member", [&, i] {
        sleep_for(i * 100us);
        ++ended;
      });
    }
    EXPECT_EQ(group.size(), 10u);
    group.join();
    EXPECT_EQ(ended, 10);
    EXPECT_EQ(group.size(), 0u);
    group.spawn("again", [&] { ++ended; });
    group.join();
    EXPECT_EQ(ended, 11);
  });
}

TEST(Group, FirstExceptionCancelsTheOthersAndIsRethrown) {
  Threads threads;
  threads.run([] {
    Group group;
    int cancelled = 0;
    for (int i = 0; i < 3; ++i) {
      group.spawn("waits", [&] {
        try {
          wait_for_ever();
        } catch (const Cancelled&) {
          ++cancelled;
          throw std::runtime_error("second");
        }
      });
    }
    group.spawn("fails", [] { throw std::runtime_error("first"); });
    try {
      group.join();
      ADD_FAILURE();
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "first");
    }
    EXPECT_EQ(cancelled, 3);
    EXPECT_THROW(group.spawn("late", [] {}), Cancelled);
    EXPECT_THROW(group.join(), std::runtime_error);
  });
}

TEST(Group, MemberThatIsCancelledIsNoFailure) {
  Threads threads;
  threads.run([] {
    Group group;
    group.spawn("gives up", [] { throw Cancelled("by itself"); });
    bool ended = false;
    group.spawn("goes on", [&] {
      sleep_for(1ms);
      ended = true;
    });
    group.join();
    EXPECT_TRUE(ended);
  });
}

TEST(Group, CancelEndsAllThatAreAndWillBe) {
  Threads threads;
  threads.run([] {
    Group group;
    for (int i = 0; i < 5; ++i) group.spawn("waits", wait_for_ever);
    yield();
    group.cancel();
    group.join();
    EXPECT_THROW(group.spawn("late", [] {}), Cancelled);
  });
}

TEST(Group, BoundedSpawnWaitsForRoom) {
  EXPECT_THROW(Group(0), std::invalid_argument);
  Threads threads;
  threads.run([] {
    Group group(3);
    int running = 0, most = 0, ended = 0;
    for (int i = 0; i < 20; ++i) {
      group.spawn("member", [&] {
        most = std::max(most, ++running);
        sleep_for(200us);
        --running;
        ++ended;
      });
      EXPECT_LE(group.size(), 3u);
    }
    group.join();
    EXPECT_EQ(most, 3);
    EXPECT_EQ(ended, 20);

    for (int i = 0; i < 3; ++i) group.spawn("waits", wait_for_ever);
    {
      DeadlineScope scope(Clock::now() + 2ms);
      EXPECT_THROW(group.spawn("no room", [] {}), DeadlineExceeded);
    }
    // Who waits for room learns that it is in vain.
    spawn("cancels", [&] { group.cancel(); });
    EXPECT_THROW(group.spawn("no room", [] {}), Cancelled);
    group.join();
  });
}

TEST(Group, DestructorEndsAllEvenForACancelledCallerPastItsDeadline) {
  Threads threads;
  threads.run([] {
    int ended = 0;
    Fiber fiber = spawn("owner", [&] {
      DeadlineScope scope(Clock::now() + 1ms);
      Group group;
      for (int i = 0; i < 4; ++i) {
        group.spawn("cleans up slowly", [&] {
          struct Last {
            ~Last() {
              CancelShield shield;
              try {
                sleep_for(3ms);
              } catch (const DeadlineExceeded&) {
                // The member has inherited it.
              }
              ++ended;
            }
            int& ended;
          } last{ended};
          wait_for_ever();
        });
      }
      cancel(current());
      EXPECT_THROW(group.join(), Cancelled);
    });
    fiber.join();
    EXPECT_EQ(ended, 4);
  });
}

TEST(Group, CapturesAreGoneWhenJoinReturns) {
  Threads threads;
  threads.run([] {
    auto captured = std::make_shared<int>(1);
    Group group;
    for (int i = 0; i < 3; ++i) group.spawn("holds", [captured] { yield(); });
    group.join();
    EXPECT_EQ(captured.use_count(), 1);
  });
}

TEST(Group, MembersOfSeveralThreads) {
  for (unsigned count : {1u, 2u, 4u, 8u}) {
    Threads threads(count);
    for (unsigned seed = 1; seed <= 10; ++seed) {
      Group group(5);
      std::atomic<int> running{0}, ended{0};
      Crew crew(threads, seed);
      crew.start(16, 0, [&](unsigned, Crew::Random& random) {
        for (int i = 0; i < 20; ++i) {
          const auto pause = std::chrono::microseconds(random() % 50);
          group.spawn("member", [&, pause] {
            struct Counted {
              ~Counted() {
                --running;
                ++ended;
              }
              std::atomic<int>& running;
              std::atomic<int>& ended;
            } counted{running, ended};
            EXPECT_LE(++running, 5);
            sleep_for(pause);
          });
        }
      });
      crew.cancel_some(6);
      crew.join();
      if (seed % 2 == 0) group.cancel();
      // From a plain thread.
      group.join();
      EXPECT_EQ(running, 0);
      EXPECT_GT(ended, 0);
    }
  }
}

TEST(Parallel, MapKeepsTheOrder) {
  Threads threads;
  threads.run([] {
    std::vector<int> items(50);
    std::iota(items.begin(), items.end(), 0);
    int running = 0, most = 0;
    const std::vector<std::string> results = parallel_map(items, 7, [&](int i) {
      most = std::max(most, ++running);
      sleep_for(std::chrono::microseconds(i * 37 % 11 * 50));
      --running;
      return std::to_string(i);
    });
    EXPECT_EQ(most, 7);
    ASSERT_EQ(results.size(), 50u);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)], std::to_string(i));
    EXPECT_TRUE(parallel_map(std::vector<int>{}, 7, [](int) { return true; }).empty());
    EXPECT_THROW(parallel_map(items, 0, [](int) { return true; }), std::invalid_argument);
    EXPECT_EQ(parallel_map(items, 1000, [](int i) { return i % 2 == 0; })[48], true);
  });
}

TEST(Parallel, FirstExceptionEndsIt) {
  Threads threads;
  threads.run([] {
    std::vector<int> items(100);
    std::iota(items.begin(), items.end(), 0);
    int begun = 0, cancelled = 0;
    const auto run = [&] {
      parallel_for_each(items, 4, [&](int i) {
        ++begun;
        if (i == 10) throw std::runtime_error("the tenth");
        try {
          sleep_for(i < 10 ? 100us : 10s);
        } catch (const Cancelled&) {
          ++cancelled;
          throw;
        }
      });
    };
    const Instant start = Clock::now();
    EXPECT_THROW(run(), std::runtime_error);
    EXPECT_LT(Clock::now() - start, 5s);
    EXPECT_LT(begun, 20);
    EXPECT_LE(cancelled, 3);
  });
}

TEST(Parallel, InheritsTheDeadlineAndTheAccount) {
  Threads threads;
  threads.run([] {
    const std::vector<int> items{1, 2, 3};
    {
      DeadlineScope scope(Clock::now() + 3ms);
      EXPECT_THROW(parallel_for_each(items, 3, [](int) { sleep_for(10s); }), DeadlineExceeded);
    }
    auto account = std::make_shared<RequestAccount>();
    set_account(account);
    const std::string upstream = "upstream";
    parallel_for_each(items, 3, [&](int) {
      current().upstream = &upstream;
      sleep_for(2ms);
      current().upstream = nullptr;
    });
    set_account(nullptr);
    Duration waited{};
    for (const auto& [name, sum] : account->waiting) {
      if (name == &upstream) waited += sum;
    }
    EXPECT_GE(waited, 3 * 2ms);
  });
}

TEST(Parallel, ChangesTheItems) {
  Threads threads;
  threads.run([] {
    std::vector<int> items{1, 2, 3};
    parallel_for_each(items, 2, [](int& i) { i *= 2; });
    EXPECT_EQ(items, (std::vector<int>{2, 4, 6}));
  });
}

}  // namespace
}  // namespace penstock::fiber
