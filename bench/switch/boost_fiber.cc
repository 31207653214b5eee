#include <boost/fiber/all.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>

// A peer: what plain Boost.Fiber costs. Prints one JSON object of nanoseconds. Stacks are guarded and made anew for
// each fiber, or with the argument "pooled" neither.
namespace {

namespace fibers = boost::fibers;

constexpr int kRounds = 1'000'000;

template <class Fn>
double nanoseconds_each(int count, Fn fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / count;
}

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
  double handoff_ns(bool with_deadline) {
    return nanoseconds_each(kRounds, [&] {
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
        for (int i = 0; i < kRounds / 2; ++i) {
          wait(lock, false);
          mine = true;
          changed.notify_one();
        }
      });
      std::unique_lock lock(mutex);
      for (int i = 0; i < kRounds / 2; ++i) {
        mine = false;
        changed.notify_one();
        wait(lock, true);
      }
      lock.unlock();
      other.join();
    });
  }

  void print() {
    yield_ns();
    const double handoff = handoff_ns(false);
    // What a deadline adds to a wait: there are no timers by themselves.
    const double timer = handoff_ns(true) - handoff;
    std::printf(
        "{\"yield_ns\":%.1f,\"spawn_join_ns\":%.1f,\"channel_ns\":%.1f,\"handoff_ns\":%.1f,\"timer_ns\":%.1f}\n",
        yield_ns(), spawn_join_ns(), channel_ns(), handoff, timer);
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
