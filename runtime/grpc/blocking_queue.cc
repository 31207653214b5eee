#include "runtime/grpc/blocking_queue.h"

#include <dlfcn.h>
#include <grpcpp/impl/codegen/core_codegen_interface.h>
#include <grpcpp/impl/grpc_library.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "runtime/grpc/batches.h"

namespace penstock::grpc {
namespace {

thread_local grpc_completion_queue* last_blocking = nullptr;

struct alignas(64) Shard {
  std::mutex mutex;
  std::unordered_map<grpc_completion_queue*, std::shared_ptr<void>> kept;
};

Shard& shard(grpc_completion_queue* queue) {
  static auto& shards = *new std::array<Shard, 16>;
  const auto address = reinterpret_cast<std::uintptr_t>(queue);
  return shards[(address >> 6 ^ address >> 12) % shards.size()];
}

// The next definition after the program's: libgrpc's.
template <class F>
F* real(const char* name) {
  void* found = ::dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<F*>(found);
}

}  // namespace

bool made_to_block(grpc_completion_queue* queue) noexcept { return queue == last_blocking; }

void keep_with(grpc_completion_queue* queue, std::shared_ptr<void> thing) {
  Shard& home = shard(queue);
  const std::lock_guard lock(home.mutex);
  home.kept.insert_or_assign(queue, std::move(thing));
}

void require_interposed() {
  static const bool interposed = [] {
    ::grpc::internal::GrpcLibraryInitializer().summon();
    ::grpc_init();
    const grpc_completion_queue_attributes attributes{GRPC_CQ_CURRENT_VERSION, GRPC_CQ_PLUCK, GRPC_CQ_NON_POLLING,
                                                      nullptr};
    auto& grpc = *::grpc::g_core_codegen_interface;
    grpc_completion_queue* queue =
        grpc.grpc_completion_queue_create(grpc.grpc_completion_queue_factory_lookup(&attributes), &attributes, nullptr);
    const bool ours = made_to_block(queue);
    grpc.grpc_completion_queue_destroy(queue);
    ::grpc_shutdown();
    return ours;
  }();
  if (!interposed) {
    throw std::logic_error(
        "penstock::grpc must be linked into the program itself, which must export its symbols, ahead of libgrpc");
  }
}

}  // namespace penstock::grpc

#define PENSTOCK_EXPORT extern "C" __attribute__((visibility("default"), used))

PENSTOCK_EXPORT grpc_completion_queue* grpc_completion_queue_create(const grpc_completion_queue_factory* factory,
                                                                    const grpc_completion_queue_attributes* attributes,
                                                                    void* reserved) {
  static const auto real = penstock::grpc::real<decltype(grpc_completion_queue_create)>("grpc_completion_queue_create");
  grpc_completion_queue* queue = real(factory, attributes, reserved);
  if (attributes->cq_completion_type == GRPC_CQ_PLUCK) penstock::grpc::last_blocking = queue;
  return queue;
}

PENSTOCK_EXPORT grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline,
                                                       void* reserved) {
  if (const auto ok = penstock::grpc::Batches::wait(tag)) {
    grpc_event event{};
    event.type = GRPC_OP_COMPLETE;
    event.success = *ok ? 1 : 0;
    event.tag = tag;
    return event;
  }
  static const auto real = penstock::grpc::real<decltype(grpc_completion_queue_pluck)>("grpc_completion_queue_pluck");
  return real(queue, tag, deadline, reserved);
}

PENSTOCK_EXPORT void grpc_completion_queue_destroy(grpc_completion_queue* queue) {
  std::shared_ptr<void> kept;
  {
    auto& home = penstock::grpc::shard(queue);
    const std::lock_guard lock(home.mutex);
    if (const auto found = home.kept.find(queue); found != home.kept.end()) {
      kept = std::move(found->second);
      home.kept.erase(found);
    }
  }
  if (penstock::grpc::last_blocking == queue) penstock::grpc::last_blocking = nullptr;
  static const auto real =
      penstock::grpc::real<decltype(grpc_completion_queue_destroy)>("grpc_completion_queue_destroy");
  real(queue);
}
