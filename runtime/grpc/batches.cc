#include "runtime/grpc/batches.h"

#include <grpcpp/completion_queue.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "penstock/fiber.h"
#include "runtime/fiber/uninterrupted.h"
#include "runtime/grpc/fiber_call.h"

namespace penstock::grpc {
namespace {

// For the last word of a call whose time is up.
constexpr auto kLastWord = std::chrono::seconds(1);

struct Batch {
  FiberCall* call;
  bool last;
  bool done = false;
  bool ok = false;
  fiber::Waiter* waiter = nullptr;
};

struct alignas(64) Shard {
  std::mutex mutex;
  std::unordered_map<void*, Batch> batches;
};

Shard& shard(void* tag) {
  // Never destroyed: completion queues of static objects may end later.
  static auto& shards = *new std::array<Shard, 64>;
  const auto address = reinterpret_cast<std::uintptr_t>(tag);
  return shards[(address >> 6 ^ address >> 14) % shards.size()];
}

}  // namespace

void Batches::note(void* tag, FiberCall& call, bool last) {
  Shard& home = shard(tag);
  const std::lock_guard lock(home.mutex);
  home.batches.insert_or_assign(tag, Batch{&call, last});
}

bool Batches::complete(void* tag, bool ok) noexcept {
  Shard& home = shard(tag);
  const std::lock_guard lock(home.mutex);
  const auto found = home.batches.find(tag);
  if (found == home.batches.end()) return false;
  found->second.done = true;
  found->second.ok = ok;
  if (found->second.waiter != nullptr) found->second.waiter->notify();
  return true;
}

std::optional<bool> Batches::wait(void* tag) noexcept {
  Shard& home = shard(tag);
  std::unique_lock lock(home.mutex);
  const auto found = home.batches.find(tag);
  if (found == home.batches.end()) return std::nullopt;
  // Stays where it is while others come and go.
  Batch& batch = found->second;

  const auto wait = [&] {
    fiber::Waiter waiter(batch.call->waiting_for());
    batch.waiter = &waiter;
    lock.unlock();
    const fiber::Wake why = waiter.wait();
    lock.lock();
    batch.waiter = nullptr;
    return why;
  };
  fiber::Wake why = fiber::Wake::notified;
  while (!batch.done && why == fiber::Wake::notified) why = wait();
  if (!batch.done && batch.last) {
    const fiber::Uninterrupted moment;
    const DeadlineScope last_word(std::chrono::steady_clock::now() + kLastWord);
    wait();
  }
  if (!batch.done) {
    lock.unlock();
    batch.call->interrupted(why);
    const fiber::Uninterrupted end;
    lock.lock();
    while (!batch.done) wait();
  }
  const bool ok = batch.ok;
  FiberCall& call = *batch.call;
  home.batches.erase(tag);
  lock.unlock();
  call.ended(tag);
  return ok;
}

void FiberCall::PerformOpsOnCall(::grpc::internal::CallOpSetInterface* ops, ::grpc::internal::Call* call) {
  const bool last = starting(*ops);
  Batches::note(ops->core_cq_tag(), *this, last);
  ops->FillOps(call);
}

}  // namespace penstock::grpc
