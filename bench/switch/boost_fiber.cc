#include <boost/fiber/all.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "bench/switch/nanoseconds.h"

// A peer: what plain Boost.Fiber costs. Prints one JSON object of nanoseconds. Stacks are guarded and made anew for
// each fiber, or with the argument "pooled" neither.
namespace {

namespace fibers = boost::fibers;
using penstock::bench::added_ns;
using penstock::bench::nanoseconds_each;

constexpr int kRounds = 1'000'000;

template <class Stack>
class Bench {
 public:
  explicit Bench(Stack stack) : stack_(stack) {}

  template <class Fn>
  fibers::fiber spawn(Fn fn) {
    return fibers::fiber(fibers::launch::post, std::allocator_arg, stack_, fn);
  }

  double yield_ns() {
    return nanoseconds_each(kRounds, [this] {
      const auto loop = [] {
        for (int i = 0; i < kRounds / 2; ++i) boost::this_fiber::yield();
      };
      fibers::fiber other = spawn(loop);
      loop();
      other.join();
    });
  }

  double spawn_join_ns() {
    constexpr int kSpawns = kRounds / 5;
    return nanoseconds_each(kSpawns, [this] {
      for (int i = 0; i < kSpawns; ++i) spawn([] {}).join();
    });
  }

  double channel_ns() {
    return nanoseconds_each(kRounds, [this] {
      fibers::unbuffered_channel<int> channel;
      fibers::fiber sender = spawn([&] {
        for (int i = 0; i < kRounds; ++i) channel.push(i);
        channel.close();
      });
      int item;
      while (channel.pop(item) == fibers::channel_op_status::success) {
      }
      sender.join();
    });
  }

  // With a deadline: every wait is one that a timer could end.
  double handoff_ns(int count, bool with_deadline) {
    return nanoseconds_each(count, [&] {
      fibers::mutex mutex;
      fibers::condition_variable changed;
      bool mine = true;
      const auto wait = [&](std::unique_lock<fibers::mutex>& lock, bool until) {
        const auto come = [&] { return mine == until; };
        if (with_deadline) {
          changed.wait_for(lock, std::chrono::hours(1), come);
        } else {
          changed.wait(lock, come);
        }
      };
      fibers::fiber other = spawn([&] {
        std::unique_lock lock(mutex);
        for (int i = 0; i < count / 2; ++i) {
          wait(lock, false);
          mine = true;
          changed.notify_one();
        }
      });
      std::unique_lock lock(mutex);
      for (int i = 0; i < count / 2; ++i) {
        mine = false;
        changed.notify_one();
        wait(lock, true);
      }
      lock.unlock();
      other.join();
    });
  }

  // What a deadline adds to a wait of so many fibers; each in turn is woken and waits again.
  double deadline_in_crowd_ns(int many) {
    struct Place {
      fibers::mutex mutex;
      fibers::condition_variable changed;
      bool woken = false;
    };
    std::vector<std::unique_ptr<Place>> places;
    std::vector<fibers::fiber> waiting;
    bool with_deadline = false, last = false;
    for (int i = 0; i < many; ++i) {
      places.push_back(std::make_unique<Place>());
      waiting.push_back(spawn([&, place = places.back().get()] {
        const auto woken = [place] { return place->woken; };
        std::unique_lock lock(place->mutex);
        while (!last) {
          if (with_deadline) {
            place->changed.wait_for(lock, std::chrono::hours(1), woken);
          } else {
            place->changed.wait(lock, woken);
          }
          place->woken = false;
        }
      }));
    }
    const auto wake_all = [&] {
      for (auto& place : places) {
        place->woken = true;
        place->changed.notify_one();
        boost::this_fiber::yield();
      }
    };
    const double added = added_ns([&](bool with) {
      with_deadline = with;
      wake_all();
      return nanoseconds_each(many, wake_all);
    });
    last = true;
    wake_all();
    for (fibers::fiber& fiber : waiting) fiber.join();
    return added;
  }

  void print() {
    yield_ns();
    std::printf("{\"yield_ns\":%.1f,\"spawn_join_ns\":%.1f,\"channel_ns\":%.1f,\"handoff_ns\":%.1f,", yield_ns(),
                spawn_join_ns(), channel_ns(), handoff_ns(kRounds, false));
    // There are no timers by themselves: what a deadline adds to a wait.
    const double timer = added_ns([this](bool with_deadline) { return handoff_ns(kRounds / 10, with_deadline); });
    std::printf("\"timer_ns\":%.1f,\"timer_of_10000_ns\":%.1f}\n", timer, deadline_in_crowd_ns(10'000));
  }

 private:
  Stack stack_;
};

}  // namespace

int main(int argc, char** argv) {
  constexpr std::size_t kStack = 128 * 1024;
  if (argc > 1 && std::strcmp(argv[1], "pooled") == 0) {
    Bench(fibers::pooled_fixedsize_stack(kStack)).print();
  } else {
    Bench(fibers::protected_fixedsize_stack(kStack)).print();
  }
}
