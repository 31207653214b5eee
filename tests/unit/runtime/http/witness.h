#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {

// A client that asks again and again over one connection while others have a bad day, and must not notice.
class Witness {
 public:
  Witness(RawSocket socket, std::string_view path)
      : thread_([this, socket = std::move(socket), path = std::string(path)]() mutable {
          const std::string request = "GET " + path + " HTTP/1.1\r\nHost: t\r\n\r\n";
          while (!over_) {
            if (socket.ask(request).status != 200) ++failed_;
            if (failed_ != 0) return;
            ++answered_;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}
  ~Witness() {
    over_ = true;
    thread_.join();
    EXPECT_EQ(failed_, 0) << "another client noticed";
  }

  // Waits until it was answered some more times, as from now.
  bool goes_on() {
    const int before = answered_;
    return eventually([&] { return failed_ != 0 || answered_ >= before + 3; }) && failed_ == 0;
  }

 private:
  std::atomic<bool> over_{false};
  std::atomic<int> answered_{0};
  std::atomic<int> failed_{0};
  std::thread thread_;
};

// How often the request of that route, or "other", was counted with that code.
inline double requests(Runtime& runtime, std::string_view route, std::string_view code) {
  return runtime.metrics()
      .counter("penstock_requests_total", "",
               {{"route", std::string(route)}, {"code", std::string(code)}, {"priority", "normal"}})
      .value();
}

}  // namespace penstock::http
