#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/http.h"
#include "penstock/runtime.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {

inline std::string ok(std::string_view body, std::string_view headers = {}) {
  return "HTTP/1.1 200 OK\r\n" + std::string(headers) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

// A script for RawServer: answers every request of a connection, which has no body, until the client closes it.
inline void answer_all(RawSocket& socket, std::string_view answer) {
  while (!socket.read_until("\r\n\r\n").empty()) {
    if (!socket.send(answer)) return;
  }
}

inline std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

// A runtime with the upstream "A", which is 127.0.0.1 unless told otherwise. At its end no descriptor is left.
class ClientTest : public ::testing::Test {
 protected:
  explicit ClientTest(unsigned threads = 1) : runtime(threads) {}
  ~ClientTest() override {
    runtime.stop();
    for (const auto& stats : runtime->stats().upstreams) EXPECT_EQ(stats.in_flight, 0) << stats.name;
  }

  void use_policy(std::vector<decision::UpstreamPolicy> upstreams) {
    for (decision::UpstreamPolicy& upstream : upstreams) {
      if (upstream.name.empty()) upstream.name = "A";
      if (upstream.hosts.empty()) upstream.hosts = {"127.0.0.1"};
    }
    decision::Policy policy;
    policy.service = "test";
    policy.pools = {{.name = "default"}};
    policy.upstreams = std::move(upstreams);
    runtime->apply_policy(policy);
  }
  // With that policy, or one that says nothing but the name.
  void start(decision::UpstreamPolicy upstream = {}) {
    use_policy({std::move(upstream)});
    runtime.start();
  }

  Runtime::UpstreamStats stats(std::string_view name = "A") {
    for (auto& stats : runtime->stats().upstreams) {
      if (stats.name == name) return stats;
    }
    ADD_FAILURE() << "no upstream " << name;
    return {};
  }
  double counted(std::string_view outcome, std::string_view upstream = "A") {
    return runtime->metrics().total("penstock_upstream_requests_total",
                                    {{"upstream", std::string(upstream)}, {"outcome", std::string(outcome)}});
  }

 private:
  struct Descriptors {
    const std::size_t before = open_descriptors();
    ~Descriptors() { EXPECT_EQ(open_descriptors(), before) << "descriptors are left"; }
  } descriptors_;

 protected:
  CapturedLog log;
  RunningRuntime runtime;
};

// The text of the error of type E that fn throws; empty, and a failure of the test, when it throws none.
template <class E>
std::string error_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const E& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "another error: " << e.what();
    return {};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

// What is left of the body.
inline std::string read_all(ClientExchange& exchange, std::size_t piece = 1000) {
  std::string all;
  std::string room(piece, '\0');
  while (const std::size_t n = exchange.read(room.data(), room.size())) all.append(room, 0, n);
  return all;
}

}  // namespace penstock::http
