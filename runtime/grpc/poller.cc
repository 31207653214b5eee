#include "runtime/grpc/poller.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <pthread.h>

#include <utility>

#include "runtime/grpc/batches.h"

namespace penstock::grpc {

Poller::Poller(std::unique_ptr<::grpc::CompletionQueue> queue, const std::string& name) : queue_(std::move(queue)) {
  thread_ = std::thread([this] { run(); });
  ::pthread_setname_np(thread_.native_handle(), name.c_str());
}

Poller::~Poller() { stop(); }

void Poller::stop() {
  if (!thread_.joinable()) return;
  queue_->Shutdown();
  thread_.join();
}

void Poller::run() {
  while (true) {
    const grpc_event event = ::grpc_completion_queue_next(queue_->cq(), ::gpr_inf_future(GPR_CLOCK_REALTIME), nullptr);
    if (event.type == GRPC_QUEUE_SHUTDOWN) return;
    const bool ok = event.success != 0;
    if (Batches::complete(event.tag, ok)) continue;
    // As CompletionQueue::Next() does it.
    void* tag = event.tag;
    bool final_ok = ok;
    if (static_cast<::grpc::internal::CompletionQueueTag*>(event.tag)->FinalizeResult(&tag, &final_ok)) {
      static_cast<Event*>(tag)->happened(final_ok);
    }
  }
}

}  // namespace penstock::grpc
