#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "penstock/agent.h"
#include "penstock/http.h"
#include "penstock/runtime.h"
#include "penstock/v1/admin.grpc.pb.h"
#include "tests/integration/controller/controller_process.h"

namespace penstock {

// True as soon as `condition` holds, within `limit`.
inline bool eventually(const std::function<bool()>& condition, std::chrono::seconds limit = std::chrono::seconds(20)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

// A node of service "shop" in this process: GET / takes as long as `latency` says.
class ShopNode {
 public:
  explicit ShopNode(std::string controller, std::string name = "n1", AgentTls tls = {})
      : server_(runtime_, {.port = 0}),
        agent_(runtime_, {.controller = std::move(controller),
                          .node = std::move(name),
                          .metrics_address = server_.address(),
                          .tls = std::move(tls),
                          .counters_period = std::chrono::milliseconds(100)}) {
    server_.route("GET", "/", [this](const http::Request&) {
      sleep_for(latency.load());
      return http::Response::text("ok");
    });
    thread_ = std::thread([this] { runtime_.run(); });
    agent_.start();
  }
  ~ShopNode() {
    agent_.stop();
    runtime_.stop();
    thread_.join();
  }

  Runtime& runtime() { return runtime_; }
  Agent& agent() { return agent_; }
  std::string address() const { return server_.address(); }
  int limit() { return runtime_.pool("default").limit(); }

  std::atomic<std::chrono::milliseconds> latency{std::chrono::milliseconds(0)};

 private:
  Runtime runtime_{{.service = "shop", .threads = 1, .drain_grace = std::chrono::milliseconds(100)}};
  http::Server server_;
  Agent agent_;
  std::thread thread_;
};

// The operator's hand on one controller.
class Operator {
 public:
  explicit Operator(const controller::ControllerProcess& controller)
      : stub_(v1::AdminService::NewStub(controller.channel())) {}

  // The error's message; empty when it was applied.
  std::string apply(const v1::Policy& policy) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::ApplyPolicyRequest request;
    *request.mutable_policy() = policy;
    v1::ApplyPolicyResponse response;
    return stub_->ApplyPolicy(&context, request, &response).error_message();
  }
  std::string set_limit(int limit) {
    grpc::ClientContext context;
    v1::SetPoolLimitRequest request;
    request.set_pool("default");
    request.set_service("shop");
    request.set_limit(limit);
    request.mutable_ttl()->set_seconds(3600);
    request.set_reason("a test");
    v1::Override response;
    return stub_->SetPoolLimit(&context, request, &response).error_message();
  }
  v1::WhyResponse why(const std::string& kind, const std::string& name) {
    grpc::ClientContext context;
    v1::WhyRequest request;
    request.set_kind(kind);
    request.set_name(name);
    v1::WhyResponse response;
    stub_->Why(&context, request, &response);
    return response;
  }
  // Newest first.
  v1::ListDecisionsResponse decisions(const std::string& kind) {
    grpc::ClientContext context;
    v1::ListDecisionsRequest request;
    request.set_kind(kind);
    v1::ListDecisionsResponse response;
    stub_->ListDecisions(&context, request, &response);
    return response;
  }

 private:
  std::unique_ptr<v1::AdminService::Stub> stub_;
};

}  // namespace penstock
