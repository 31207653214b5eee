#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "penstock/queue.h"
#include "penstock/sync.h"
#include "runtime/fiber/fiber_state.h"
#include "tests/unit/runtime/fiber/crew.h"

// Fibers of 1 to 8 threads and plain threads on one object, with cancellation and deadlines at random: mutual
// exclusion, nothing lost, nothing twice, and nobody waits at the end.
namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr unsigned kFibers = 24;
constexpr unsigned kPlain = 2;
constexpr unsigned kCancelled = 12;
constexpr int kRounds = 200;

// Which a plain thread does not need.
struct CancelShieldOnFiber {
  CancelShieldOnFiber() {
    if (on_fiber()) shield.emplace();
  }
  std::optional<CancelShield> shield;
};

class SyncAcross : public testing::TestWithParam<unsigned> {
 protected:
  void run(unsigned seed, const Crew::Body& body) {
    Crew crew(threads_, seed);
    crew.start(kFibers, kPlain, body);
    crew.cancel_some(kCancelled);
    crew.join();
  }

  // A deadline that passes now and then; none on plain threads.
  static Instant soon(Crew::Random& random) {
    return Clock::now() + std::chrono::microseconds(random() % 4 == 0 ? random() % 50 : 10'000'000);
  }
  static void pause(Crew::Random& random) {
    if (!on_fiber()) return;
    if (random() % 8 == 0) {
      sleep_for(std::chrono::microseconds(random() % 100));
    } else if (random() % 2 == 0) {
      yield();
    }
  }

  Threads threads_{GetParam()};
};

TEST_P(SyncAcross, MutexExcludes) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    Mutex mutex;
    long held = 0;
    std::atomic<long> taken{0};
    std::atomic<int> inside{0};
    run(seed, [&](unsigned, Crew::Random& random) {
      for (int i = 0; i < kRounds; ++i) {
        std::unique_lock lock(mutex, std::defer_lock);
        if (random() % 3 == 0) {
          if (!mutex.try_lock_until(soon(random))) continue;
          lock = std::unique_lock(mutex, std::adopt_lock);
        } else {
          lock.lock();
        }
        EXPECT_EQ(++inside, 1);
        ++held;
        ++taken;
        if (random() % 4 == 0) {
          CancelShieldOnFiber shield;
          pause(random);
        }
        --inside;
      }
    });
    EXPECT_EQ(held, taken);
    EXPECT_TRUE(mutex.try_lock());
  }
}

TEST_P(SyncAcross, SemaphoreBoundsAndLosesNoPermit) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    constexpr int kPermits = 3;
    Semaphore semaphore(kPermits);
    std::atomic<int> inside{0};
    run(seed, [&](unsigned, Crew::Random& random) {
      for (int i = 0; i < kRounds; ++i) {
        if (random() % 3 == 0) {
          if (!semaphore.try_acquire_until(soon(random))) continue;
        } else {
          semaphore.acquire();
        }
        struct Permit {
          ~Permit() {
            --inside;
            semaphore.release();
          }
          Semaphore& semaphore;
          std::atomic<int>& inside;
        } permit{semaphore, inside};
        EXPECT_LE(++inside, kPermits);
        pause(random);
      }
    });
    EXPECT_EQ(inside, 0);
    EXPECT_EQ(semaphore.available(), kPermits);
  }
}

struct Item {
  unsigned producer = 0;
  int number = 0;
};

// What went in and what came out, as those who did it say.
class Ledger {
 public:
  explicit Ledger(unsigned members) : in_(members), out_(members) {}
  void went_in(unsigned member, int number) { in_[member].push_back(number); }
  void came_out(unsigned member, const Item& item) { out_[member].push_back(item); }

  void check() const {
    std::vector<std::vector<int>> came(in_.size());
    for (const auto& items : out_) {
      std::map<unsigned, int> last;
      for (const Item& item : items) {
        // No taker sees the items of one producer in another order.
        const auto seen = last.try_emplace(item.producer, -1).first;
        EXPECT_GT(item.number, seen->second);
        seen->second = item.number;
        came[item.producer].push_back(item.number);
      }
    }
    for (std::size_t i = 0; i < in_.size(); ++i) {
      std::sort(came[i].begin(), came[i].end());
      EXPECT_EQ(came[i], in_[i]) << "of member " << i;
    }
  }

 private:
  std::vector<std::vector<int>> in_;
  std::vector<std::vector<Item>> out_;
};

TEST_P(SyncAcross, QueueLosesAndDoublesNothing) {
  const std::size_t capacities[] = {1, 4, Queue<Item>::kUnbounded};
  for (unsigned seed = 1; seed <= 3; ++seed) {
    Queue<Item> queue(capacities[seed - 1]);
    Ledger ledger(kFibers + kPlain + 1);
    std::atomic<unsigned> producing{(kFibers + kPlain) / 2};
    run(seed, [&](unsigned member, Crew::Random& random) {
      if (member % 2 == 0) {
        struct Last {
          ~Last() {
            if (--producing == 0) queue.close();
          }
          std::atomic<unsigned>& producing;
          Queue<Item>& queue;
        } last{producing, queue};
        for (int i = 0; i < kRounds; ++i) {
          if (random() % 3 == 0 ? queue.push_until({member, i}, soon(random)) : queue.push({member, i})) {
            ledger.went_in(member, i);
          }
          pause(random);
        }
      } else {
        for (;;) {
          const bool timed = random() % 3 == 0;
          if (const auto item = timed ? queue.pop_until(soon(random)) : queue.pop()) {
            ledger.came_out(member, *item);
          } else if (!timed) {
            break;
          }
          pause(random);
        }
      }
    });
    while (const auto item = queue.pop()) ledger.came_out(kFibers + kPlain, *item);
    ledger.check();
  }
}

TEST_P(SyncAcross, ChannelLosesAndDoublesNothing) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    Channel<Item> channel(seed - 1);
    Ledger ledger(kFibers + kPlain + 1);
    std::atomic<unsigned> sending{(kFibers + kPlain) / 2};
    Crew crew(threads_, seed);
    crew.start(kFibers, kPlain, [&](unsigned member, Crew::Random& random) {
      if (member % 2 == 0) {
        for (int i = 0; i < kRounds; ++i) {
          if (random() % 3 == 0 ? channel.send_until({member, i}, soon(random)) : channel.send({member, i})) {
            ledger.went_in(member, i);
          }
          pause(random);
        }
        --sending;
      } else {
        for (;;) {
          const bool timed = random() % 3 == 0;
          if (const auto item = timed ? channel.receive_until(soon(random)) : channel.receive()) {
            ledger.came_out(member, *item);
          } else if (!timed) {
            break;
          }
          pause(random);
        }
      }
    });
    crew.cancel_some(kCancelled);
    // Whoever is left alone on its side goes on with the test's own thread.
    std::thread closer([&] {
      const Instant end = Clock::now() + 150ms;
      while (Clock::now() < end) {
        if (const auto item = channel.receive_until(Clock::now() + 1ms)) ledger.came_out(kFibers + kPlain, *item);
      }
      channel.close();
    });
    closer.join();
    crew.join();
    while (const auto item = channel.receive()) ledger.came_out(kFibers + kPlain, *item);
    ledger.check();
  }
}

TEST_P(SyncAcross, ConditionLosesNoNotification) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    Mutex mutex;
    ConditionVariable changed;
    int tokens = 0;
    bool closed = false;
    std::atomic<int> made{0}, used{0};
    std::atomic<unsigned> making{(kFibers + kPlain) / 2};
    run(seed, [&](unsigned member, Crew::Random& random) {
      if (member % 2 == 0) {
        struct Last {
          ~Last() {
            if (--making != 0) return;
            CancelShieldOnFiber shield;
            std::lock_guard lock(mutex);
            closed = true;
            changed.notify_all();
          }
          std::atomic<unsigned>& making;
          Mutex& mutex;
          bool& closed;
          ConditionVariable& changed;
        } last{making, mutex, closed, changed};
        for (int i = 0; i < kRounds; ++i) {
          {
            std::lock_guard lock(mutex);
            ++tokens;
            ++made;
          }
          changed.notify_one();
          pause(random);
        }
      } else {
        for (;;) {
          {
            std::unique_lock lock(mutex);
            changed.wait(lock, [&] { return tokens > 0 || closed; });
            if (tokens == 0) break;
            --tokens;
            ++used;
          }
          pause(random);
        }
      }
    });
    EXPECT_EQ(tokens, made - used);
    // A plain thread takes part, and is never cancelled.
    EXPECT_EQ(tokens, 0);
    EXPECT_TRUE(mutex.try_lock());
  }
}

TEST_P(SyncAcross, EventEndsEveryWait) {
  for (int round = 0; round < 50; ++round) {
    // Destroyed by the first who can, right after its wait.
    auto* event = new Event;
    std::atomic<unsigned> waiting{kFibers};
    Crew crew(threads_, static_cast<unsigned>(round));
    crew.start(kFibers, 0, [&](unsigned, Crew::Random& random) {
      CancelShieldOnFiber shield;
      pause(random);
      event->wait();
      if (--waiting == 0) delete event;
    });
    event->set();
    crew.cancel_some(2);
    crew.join();
    EXPECT_EQ(waiting, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, SyncAcross, testing::Values(1u, 2u, 4u, 8u));

}  // namespace
}  // namespace penstock::fiber
