#pragma once

#include <grpc/grpc.h>
#include <grpcpp/impl/call.h>
#include <grpcpp/impl/call_op_set_interface.h>

#include "runtime/fiber/waiter.h"

namespace penstock::grpc {

// An RPC, of either side, whose synchronous operations wait on fibers.
//
// gRPC's synchronous classes start a batch of operations through their Call's hook, which is this, and then pluck its
// tag from a completion queue, which holds the thread. Here the RPC belongs to another queue, which a Poller drains;
// the tag is noted before the batch starts, and plucking a noted tag (blocking_queue.cc) is a wait of the fiber.
class FiberCall : public ::grpc::internal::CallHook {
 public:
  void PerformOpsOnCall(::grpc::internal::CallOpSetInterface* ops, ::grpc::internal::Call* call) final;

 protected:
  // A batch is about to start. True: it ends the RPC; the wait for it goes on for a moment past deadline and
  // cancellation.
  virtual bool starting(::grpc::internal::CallOpSetInterface& ops) = 0;
  // The waiting fiber was cancelled or its deadline passed: makes the pending batches end soon.
  virtual void interrupted(fiber::Wake why) noexcept = 0;
  // The batch has ended; its results are not yet the caller's.
  virtual void ended(void* tag) noexcept = 0;
  // What dumps say that a fiber waits for.
  virtual fiber::WaitingFor waiting_for() const noexcept = 0;

 private:
  friend class Batches;
};

}  // namespace penstock::grpc
