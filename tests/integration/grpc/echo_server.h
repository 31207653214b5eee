#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "echo.grpc.pb.h"
#include "penstock/fiber.h"
#include "penstock/grpc.h"
#include "penstock/runtime.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::grpc {

using Status = ::grpc::Status;
using ::grpc::ClientContext;
using ::grpc::ServerContext;
using ::grpc::StatusCode;
using http::eventually;

// An ordinary synchronous service, as one has it before there is Penstock; what a test gives runs instead.
class EchoService final : public echo::Echo::Service {
 public:
  std::function<Status(ServerContext&, const echo::Text&, echo::Text&)> say;
  std::function<Status(ServerContext&, ::grpc::ServerWriter<echo::Text>&)> list;
  std::atomic<int> running{0};

  Status Say(ServerContext* context, const echo::Text* request, echo::Text* reply) override {
    const Running running(*this);
    *reply = *request;
    return say ? say(*context, *request, *reply) : Status::OK;
  }
  Status List(ServerContext* context, const echo::Text* request, ::grpc::ServerWriter<echo::Text>* out) override {
    const Running running(*this);
    if (list) return list(*context, *out);
    echo::Text row;
    for (std::int64_t i = 0; i < request->number(); ++i) {
      row.set_number(i);
      row.set_text(request->text());
      if (!out->Write(row)) return Status::CANCELLED;
    }
    return Status::OK;
  }
  Status Sum(ServerContext*, ::grpc::ServerReader<echo::Text>* in, echo::Text* reply) override {
    const Running running(*this);
    echo::Text row;
    while (in->Read(&row)) reply->set_number(reply->number() + row.number());
    return Status::OK;
  }
  Status Talk(ServerContext*, ::grpc::ServerReaderWriter<echo::Text, echo::Text>* stream) override {
    const Running running(*this);
    echo::Text row;
    while (stream->Read(&row)) {
      if (!stream->Write(row)) return Status::CANCELLED;
    }
    return Status::OK;
  }

 private:
  struct Running {
    explicit Running(EchoService& service) : service(service) { ++service.running; }
    ~Running() { --service.running; }
    EchoService& service;
  };
};

// A runtime with a server of the service, and channels to it.
struct EchoServer {
  explicit EchoServer(unsigned threads = 1, std::chrono::milliseconds grace = std::chrono::seconds(5),
                      std::chrono::seconds = {})
      : runtime(threads, grace) {
    server.add(service);
    server.start();
    runtime.start();
  }

  std::string target() const { return "127.0.0.1:" + std::to_string(server.port()); }
  // Guarded by the runtime; a connection of its own.
  std::unique_ptr<echo::Echo::Stub> stub(std::string upstream = "") {
    return echo::Echo::NewStub(channel(*runtime, std::move(upstream), target(), ::grpc::InsecureChannelCredentials()));
  }
  // gRPC's own.
  std::unique_ptr<echo::Echo::Stub> plain_stub() {
    return echo::Echo::NewStub(::grpc::CreateChannel(target(), ::grpc::InsecureChannelCredentials()));
  }
  double metric(const std::string& name, Labels labels) { return runtime->metrics().counter(name, "", labels).value(); }

  EchoService service;
  http::RunningRuntime runtime;
  Server server{*runtime};
};

inline echo::Text text(std::string value, std::int64_t number = 0) {
  echo::Text text;
  text.set_text(std::move(value));
  text.set_number(number);
  return text;
}

// With a deadline, so that a test that hangs fails instead.
inline std::unique_ptr<ClientContext> context(std::chrono::milliseconds patience = std::chrono::seconds(20)) {
  auto made = std::make_unique<ClientContext>();
  made->set_deadline(std::chrono::system_clock::now() + patience);
  return made;
}

}  // namespace penstock::grpc
