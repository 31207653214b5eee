#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock::controller {

// A real penstock-controller on free ports with its own data directory.
class ControllerProcess {
 public:
  // Starts it and waits until it listens. `grpc` as --grpc. Throws std::runtime_error with its log when it does not.
  explicit ControllerProcess(std::string directory, std::vector<std::string> arguments = {},
                             std::string grpc = "127.0.0.1:0");
  ~ControllerProcess();
  ControllerProcess(const ControllerProcess&) = delete;

  const std::string& grpc() const { return grpc_; }
  const std::string& http() const { return http_; }
  pid_t pid() const { return pid_; }
  // Sends the signal and waits for the end; the exit code, or minus the signal that ended it.
  int end(int signal);
  std::string log() const;

  std::shared_ptr<grpc::Channel> channel() const;

 private:
  std::string directory_;
  pid_t pid_ = -1;
  std::string grpc_, http_;
};

// Runs it with these arguments until it ends by itself; its exit code and what it said on stderr.
struct Ended {
  int code;
  std::string errors;
};
Ended run_controller(const std::vector<std::string>& arguments);

// A channel that shares no connection with others.
std::shared_ptr<grpc::Channel> connect(const std::string& address,
                                       std::shared_ptr<grpc::ChannelCredentials> credentials);

}  // namespace penstock::controller
