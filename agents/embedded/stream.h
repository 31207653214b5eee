#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "penstock/decision/time.h"
#include "penstock/v1/agent.grpc.pb.h"

namespace penstock::agent {

// One stream to the controller, from its opening to its end. gRPC's threads only move messages between the wire and two
// queues; the owner's thread takes and sends. All members are thread-safe.
class Stream {
 public:
  Stream(std::shared_ptr<grpc::Channel> channel, const v1::AgentMessage& hello);
  // Cancels, and waits for gRPC to let go.
  ~Stream();
  Stream(const Stream&) = delete;

  void send(v1::AgentMessage message);
  // Messages that wait to be written.
  std::size_t backlog() const;

  // Waits for a message until `deadline`; unset when there is none by then, or the stream has ended.
  std::optional<v1::ControllerMessage> receive(decision::Instant deadline);
  // Ends a receive() that waits, now or next.
  void wake();
  // Set once the stream has ended and all that it brought was received.
  std::optional<grpc::Status> ended() const;

 private:
  class Reactor;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::ControllerMessage> inbox_;
  std::deque<v1::AgentMessage> outbox_;
  bool writing_ = false;
  bool woken_ = false;
  std::optional<grpc::Status> status_;

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AgentService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<Reactor> reactor_;
};

}  // namespace penstock::agent
