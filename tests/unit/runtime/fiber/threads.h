#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/fiber/scheduler_thread.h"

namespace penstock::fiber {

// Scheduler threads, and a way to wait from the test's plain thread for what fibers do. At the end no fiber is left.
class Threads {
 public:
  explicit Threads(unsigned count = 1) {
    for (unsigned i = 0; i < count; ++i) {
      threads_.push_back(std::make_unique<SchedulerThread>(SchedulerOptions{.index = i}));
    }
  }
  ~Threads() {
    for (auto& thread : threads_) EXPECT_EQ(thread->fibers(), 0u);
  }

  SchedulerThread& operator[](unsigned i) { return *threads_[i]; }
  unsigned size() const { return static_cast<unsigned>(threads_.size()); }

  // Runs fn as a fiber; waits for its end, and until no fiber is left on its thread; rethrows.
  void run(std::function<void()> fn, unsigned thread = 0) { start(std::move(fn), thread)(); }

  // Starts fn as a fiber; calling what it returns waits like run().
  std::function<void()> start(std::function<void()> fn, unsigned thread = 0) {
    auto promise = std::make_shared<std::promise<void>>();
    threads_[thread]->spawn("test", [promise, fn = std::move(fn)] {
      try {
        fn();
        promise->set_value();
      } catch (...) {
        promise->set_exception(std::current_exception());
      }
    });
    return [this, thread, future = promise->get_future().share()] {
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      if (future.wait_until(give_up) != std::future_status::ready) {
        ADD_FAILURE() << "the fiber has not ended";
        std::abort();
      }
      while (threads_[thread]->fibers() != 0 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
      future.get();
    };
  }

 private:
  std::vector<std::unique_ptr<SchedulerThread>> threads_;
};

}  // namespace penstock::fiber
