#include "controller/service/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <mutex>

#include "absl/strings/str_cat.h"

namespace penstock::controller {
namespace {

constexpr int kMaxMessageBytes = 4 * 1024 * 1024;
constexpr std::chrono::seconds kGrace{1};

absl::StatusOr<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file || content.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read or is empty"));
  return content;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials(const GrpcServerOptions& options) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  auto certificate = read_file(options.tls_cert);
  if (!certificate.ok()) return certificate.status();
  auto key = read_file(options.tls_key);
  if (!key.ok()) return key.status();
  auto ca = read_file(options.tls_ca);
  if (!ca.ok()) return ca.status();
  grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = *std::move(ca);
  ssl.pem_key_cert_pairs.push_back({*std::move(key), *std::move(certificate)});
  return grpc::SslServerCredentials(ssl);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::start(const GrpcServerOptions& options,
                                                              const std::vector<grpc::Service*>& services) {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
  auto secured = credentials(options);
  if (!secured.ok()) return secured.status();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, *secured, &port);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // Two controllers on one port would share its connections at random.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  for (auto* service : services) builder.RegisterService(service);
  auto server = builder.BuildAndStart();
  if (server == nullptr || port == 0)
    return absl::UnavailableError(absl::StrCat("--grpc: cannot listen on ", options.address,
                                               options.tls_cert.empty() ? "" : ", or its certificate is unusable"));
  if (auto* health = server->GetHealthCheckService()) health->SetServingStatus(true);
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(server), port));
}

GrpcServer::GrpcServer(std::unique_ptr<grpc::Server> server, int port) : server_(std::move(server)), port_(port) {}

GrpcServer::~GrpcServer() { stop(); }

void GrpcServer::stop() {
  if (server_ == nullptr) return;
  if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
  server_->Shutdown(std::chrono::system_clock::now() + kGrace);
  server_->Wait();
  server_.reset();
}

}  // namespace penstock::controller
