#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "penstock/v1/admin.pb.h"

namespace grpc {
class Status;
}

namespace penstock::cli {

struct Connection {
  std::string controller = "127.0.0.1:7300";
  // PEM files; with any of them the connection is TLS, with certificate and key mutual TLS.
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::chrono::nanoseconds timeout = std::chrono::seconds(5);
};

// The controller's admin interface. A refused call throws Failure with the exit code of its reason. Changes carry one
// request id from their first attempt on and are repeated while the controller is unavailable and the timeout has not
// run out: they happen once. Reads are not repeated.
class Client {
 public:
  explicit Client(Connection connection);
  ~Client();

  v1::ControllerStatus call(const v1::GetStatusRequest& request);
  v1::Policy call(const v1::GetPolicyRequest& request);
  v1::ListPoliciesResponse call(const v1::ListPoliciesRequest& request);
  v1::ListPolicyRevisionsResponse call(const v1::ListPolicyRevisionsRequest& request);
  v1::ListNodesResponse call(const v1::ListNodesRequest& request);
  v1::ListPoolsResponse call(const v1::ListPoolsRequest& request);
  v1::ListUpstreamsResponse call(const v1::ListUpstreamsRequest& request);
  v1::ListDecisionsResponse call(const v1::ListDecisionsRequest& request);
  v1::WhyResponse call(const v1::WhyRequest& request);
  // These set the request_id.
  v1::ApplyPolicyResponse call(v1::ApplyPolicyRequest request);
  v1::ApplyPolicyResponse call(v1::RollbackPolicyRequest request);
  v1::Override call(v1::SetBreakerRequest request);
  v1::Override call(v1::SetPoolLimitRequest request);
  v1::Override call(v1::DrainNodeRequest request);

  // Hands out decisions until the stream breaks, which throws Failure.
  void watch(const v1::WatchDecisionsRequest& request, const std::function<void(const v1::Decision&)>& each);

  // Called once when a call takes more than a second.
  void on_slow(std::function<void()> tell);
  const Connection& connection() const { return connection_; }

 private:
  struct Wire;
  template <typename Request, typename Response, typename Method>
  Response read(Method method, const Request& request);
  template <typename Request, typename Response, typename Method>
  Response change(Method method, Request& request);
  [[noreturn]] void fail(const grpc::Status& status) const;

  Connection connection_;
  std::unique_ptr<Wire> wire_;
};

// A random UUID (version 4).
std::string new_request_id();

}  // namespace penstock::cli
