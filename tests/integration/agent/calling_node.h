#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "penstock/agent.h"
#include "penstock/http.h"
#include "penstock/runtime.h"

namespace penstock {

// Answers so many at once, each after 50 ms; the others wait for their turn.
class ThirdParty {
 public:
  ThirdParty() {
    server_.route("GET", "/", [this](const http::Request&) {
      while (busy_ >= capacity) sleep_for(std::chrono::milliseconds(2));
      ++busy_;
      try {
        sleep_for(std::chrono::milliseconds(50));
      } catch (...) {
        --busy_;
        throw;
      }
      --busy_;
      return http::Response::text("ok");
    });
    thread_ = std::thread([this] { runtime_.run(); });
  }
  ~ThirdParty() {
    runtime_.stop();
    thread_.join();
  }
  std::string address() const { return server_.address(); }

  std::atomic<int> capacity{40};

 private:
  // Of the one scheduler thread.
  int busy_ = 0;
  Runtime runtime_{{.service = "third-party", .threads = 1, .drain_grace = std::chrono::milliseconds(100)}};
  http::Server server_{runtime_, {.port = 0, .admission = false}};
  std::thread thread_;
};

// A node of "shop" that calls the third party 60 times a second, with 3 s for each call.
class CallingNode {
 public:
  CallingNode(const std::string& controller, const std::string& name, const std::string& third_party)
      : agent_(runtime_, {.controller = controller, .node = name}), url_("http://" + third_party + "/") {
    thread_ = std::thread([this] { runtime_.run(); });
    agent_.start();
    runtime_.spawn("arrivals", [this] {
      while (!stopping_) {
        spawn("call", [this] {
          try {
            DeadlineScope scope(std::chrono::steady_clock::now() + std::chrono::seconds(3));
            client_.get(url_);
            ++answered;
          } catch (const std::exception&) {
            ++failed;
          }
        });
        sleep_for(std::chrono::milliseconds(1000 / 60));
      }
    });
  }
  ~CallingNode() {
    stopping_ = true;
    agent_.stop();
    runtime_.stop();
    thread_.join();
  }
  Runtime::UpstreamStats stats() {
    for (auto& upstream : runtime_.stats().upstreams)
      if (upstream.name == "A") return upstream;
    return {};
  }

  std::atomic<int> answered{0}, failed{0};

 private:
  Runtime runtime_{{.service = "shop", .threads = 1, .drain_grace = std::chrono::milliseconds(100)}};
  Agent agent_;
  http::Client client_{runtime_};
  std::string url_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace penstock
