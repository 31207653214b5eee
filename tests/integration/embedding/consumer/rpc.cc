#include <penstock/grpc.h>
#include <penstock/runtime.h>

#include <string>

// That the installed library can make gRPC wait on fibers is checked where these are made.
int main() {
  penstock::Runtime runtime({.service = "rpc", .threads = 1});
  penstock::grpc::Server server(runtime);
  server.start();
  const auto channel = penstock::grpc::channel(runtime, "self", "127.0.0.1:" + std::to_string(server.port()),
                                               ::grpc::InsecureChannelCredentials());
  return server.port() != 0 && channel ? 0 : 1;
}
