#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "penstock/http.h"
#include "penstock/runtime.h"

namespace penstock::http {

// A runtime whose servers serve from start() to the end of the test.
class RunningRuntime {
 public:
  explicit RunningRuntime(unsigned threads = 2, std::chrono::milliseconds grace = std::chrono::seconds(5))
      : runtime_({.service = "test", .threads = threads, .drain_grace = grace}) {}
  explicit RunningRuntime(RuntimeOptions options) : runtime_(std::move(options)) {}
  ~RunningRuntime() { stop(); }

  Runtime& operator*() { return runtime_; }
  Runtime* operator->() { return &runtime_; }

  void start() {
    thread_ = std::thread([this] { runtime_.run(); });
  }
  // Drains and returns when everything has ended.
  void stop() {
    if (!thread_.joinable()) return;
    runtime_.stop();
    thread_.join();
  }

  // Runs fn on a fiber; its result, or what it threw.
  template <class F>
  std::invoke_result_t<F> on_fiber(F fn) {
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
      runtime_.spawn("test", [&fn] { fn(); }).join();
    } else {
      std::optional<std::invoke_result_t<F>> result;
      runtime_.spawn("test", [&result, &fn] { result.emplace(fn()); }).join();
      return *std::move(result);
    }
  }

 private:
  Runtime runtime_;
  std::thread thread_;
};

// Waits for a condition, for at most ten seconds.
inline bool eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace penstock::http
