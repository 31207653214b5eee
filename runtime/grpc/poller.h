#pragma once

#include <grpcpp/completion_queue.h>

#include <memory>
#include <string>
#include <thread>

namespace penstock::grpc {

// What is told on a Poller's thread, where it must not wait.
class Event {
 public:
  virtual void happened(bool ok) = 0;

 protected:
  ~Event() = default;
};

// A thread that drains a completion queue: wakes those who wait for batches of FiberCalls, and calls the Events that
// were given to gRPC as tags.
class Poller {
 public:
  Poller(std::unique_ptr<::grpc::CompletionQueue> queue, const std::string& name);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  ::grpc::CompletionQueue& queue() { return *queue_; }
  // Waits for what was asked of the queue, and ends; nothing may be asked of it any more. No effect when called again.
  void stop();

 private:
  void run();

  const std::unique_ptr<::grpc::CompletionQueue> queue_;
  std::thread thread_;
};

}  // namespace penstock::grpc
