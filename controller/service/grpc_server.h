#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace penstock::controller {

struct GrpcServerOptions {
  // host:port; port 0 takes a free one.
  std::string address;
  // PEM files; all three or none. With them, clients without a certificate of this CA get no connection.
  std::string tls_cert, tls_key, tls_ca;
};

// A listening gRPC server with health (grpc.health.v1, serving) and reflection.
class GrpcServer {
 public:
  // The services outlive it.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> start(const GrpcServerOptions& options,
                                                           const std::vector<grpc::Service*>& services);
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;

  int port() const { return port_; }
  // Health says NOT_SERVING; calls under way get a second to end.
  void stop();

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, int port);
  std::unique_ptr<grpc::Server> server_;
  int port_;
};

}  // namespace penstock::controller
