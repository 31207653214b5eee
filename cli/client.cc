#include "cli/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "cli/failure.h"
#include "penstock/v1/admin.grpc.pb.h"
#include "proto/errors/error.h"

namespace penstock::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Stub = v1::AdminService::Stub;
using namespace std::chrono_literals;

std::string read_pem(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file || text.empty()) throw Failure(kUsage, path + ": cannot be read");
  return text;
}

std::shared_ptr<grpc::ChannelCredentials> credentials(const Connection& connection) {
  if (connection.tls_ca.empty() && connection.tls_cert.empty() && connection.tls_key.empty())
    return grpc::InsecureChannelCredentials();
  if (connection.tls_cert.empty() != connection.tls_key.empty())
    throw Failure(kUsage, "--tls-cert and --tls-key belong together");
  grpc::SslCredentialsOptions options;
  if (!connection.tls_ca.empty()) options.pem_root_certs = read_pem(connection.tls_ca);
  if (!connection.tls_cert.empty()) {
    options.pem_cert_chain = read_pem(connection.tls_cert);
    options.pem_private_key = read_pem(connection.tls_key);
  }
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::Channel> channel(const Connection& connection) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  return grpc::CreateCustomChannel(connection.controller, credentials(connection), arguments);
}

// Tells once that a call is taking long.
class Patience {
 public:
  explicit Patience(const std::function<void()>& tell) {
    if (tell)
      thread_ = std::jthread([tell](std::stop_token stop) {
        const auto until = Clock::now() + 1s;
        while (Clock::now() < until)
          if (stop.stop_requested())
            return;
          else
            std::this_thread::sleep_for(20ms);
        tell();
      });
  }

 private:
  std::jthread thread_;
};

}  // namespace

struct Client::Wire {
  std::unique_ptr<Stub> stub;
  std::function<void()> tell_slow;
};

Client::Client(Connection connection) : connection_(std::move(connection)), wire_(new Wire) {
  wire_->stub = v1::AdminService::NewStub(channel(connection_));
}
Client::~Client() = default;

void Client::on_slow(std::function<void()> tell) { wire_->tell_slow = std::move(tell); }

void Client::fail(const grpc::Status& status) const {
  if (const auto error = errors::from_grpc(status)) {
    std::string message = error->message;
    if (error->violations.size() > 1) {
      message.clear();
      for (const auto& violation : error->violations)
        message += (message.empty() ? "" : "\n") + violation.field + ": " + violation.message;
    }
    throw Failure(errors::row(error->reason).exit_code, message);
  }
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      throw Failure(kUnreachable, "controller " + connection_.controller + ": " + status.error_message());
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      throw Failure(kUnreachable, "controller " + connection_.controller + ": no answer in time");
    default:
      throw Failure(
          kFailed, status.error_message().empty() ? "the controller refused without a reason" : status.error_message());
  }
}

template <typename Request, typename Response, typename Method>
Response Client::read(Method method, const Request& request) {
  Patience patience(wire_->tell_slow);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(connection_.timeout));
  Response response;
  const grpc::Status status = ((*wire_->stub).*method)(&context, request, &response);
  if (!status.ok()) fail(status);
  return response;
}

template <typename Request, typename Response, typename Method>
Response Client::change(Method method, Request& request) {
  Patience patience(wire_->tell_slow);
  request.set_request_id(new_request_id());
  const auto deadline = std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(connection_.timeout);
  auto pause = 100ms;
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    Response response;
    const grpc::Status status = ((*wire_->stub).*method)(&context, request, &response);
    if (status.ok()) return response;
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || std::chrono::system_clock::now() + pause >= deadline)
      fail(status);
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, 1000ms);
  }
}

v1::ControllerStatus Client::call(const v1::GetStatusRequest& request) {
  return read<v1::GetStatusRequest, v1::ControllerStatus>(&Stub::GetStatus, request);
}
v1::Policy Client::call(const v1::GetPolicyRequest& request) {
  return read<v1::GetPolicyRequest, v1::Policy>(&Stub::GetPolicy, request);
}
v1::ListPoliciesResponse Client::call(const v1::ListPoliciesRequest& request) {
  return read<v1::ListPoliciesRequest, v1::ListPoliciesResponse>(&Stub::ListPolicies, request);
}
v1::ListPolicyRevisionsResponse Client::call(const v1::ListPolicyRevisionsRequest& request) {
  return read<v1::ListPolicyRevisionsRequest, v1::ListPolicyRevisionsResponse>(&Stub::ListPolicyRevisions, request);
}
v1::ListNodesResponse Client::call(const v1::ListNodesRequest& request) {
  return read<v1::ListNodesRequest, v1::ListNodesResponse>(&Stub::ListNodes, request);
}
v1::ListPoolsResponse Client::call(const v1::ListPoolsRequest& request) {
  return read<v1::ListPoolsRequest, v1::ListPoolsResponse>(&Stub::ListPools, request);
}
v1::ListUpstreamsResponse Client::call(const v1::ListUpstreamsRequest& request) {
  return read<v1::ListUpstreamsRequest, v1::ListUpstreamsResponse>(&Stub::ListUpstreams, request);
}
v1::ListDecisionsResponse Client::call(const v1::ListDecisionsRequest& request) {
  return read<v1::ListDecisionsRequest, v1::ListDecisionsResponse>(&Stub::ListDecisions, request);
}
v1::WhyResponse Client::call(const v1::WhyRequest& request) {
  return read<v1::WhyRequest, v1::WhyResponse>(&Stub::Why, request);
}
v1::ApplyPolicyResponse Client::call(v1::ApplyPolicyRequest request) {
  return change<v1::ApplyPolicyRequest, v1::ApplyPolicyResponse>(&Stub::ApplyPolicy, request);
}
v1::ApplyPolicyResponse Client::call(v1::RollbackPolicyRequest request) {
  return change<v1::RollbackPolicyRequest, v1::ApplyPolicyResponse>(&Stub::RollbackPolicy, request);
}
v1::Override Client::call(v1::SetBreakerRequest request) {
  return change<v1::SetBreakerRequest, v1::Override>(&Stub::SetBreaker, request);
}
v1::Override Client::call(v1::SetPoolLimitRequest request) {
  return change<v1::SetPoolLimitRequest, v1::Override>(&Stub::SetPoolLimit, request);
}
v1::Override Client::call(v1::DrainNodeRequest request) {
  return change<v1::DrainNodeRequest, v1::Override>(&Stub::DrainNode, request);
}

void Client::watch(const v1::WatchDecisionsRequest& request, const std::function<void(const v1::Decision&)>& each) {
  grpc::ClientContext context;
  const auto reader = wire_->stub->WatchDecisions(&context, request);
  v1::Decision decision;
  while (reader->Read(&decision)) each(decision);
  const grpc::Status status = reader->Finish();
  if (!status.ok()) fail(status);
  throw Failure(kUnreachable, "controller " + connection_.controller + ": ended the stream");
}

std::string new_request_id() {
  std::random_device random;
  unsigned char bytes[16];
  for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random());
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  std::string text;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

}  // namespace penstock::cli
