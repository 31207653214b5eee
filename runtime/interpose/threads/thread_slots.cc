#include "runtime/interpose/threads/thread_slots.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <mutex>

#include "penstock/spin_lock.h"

namespace penstock::interpose {
namespace {

constinit SpinLock lock;
constinit std::atomic<std::byte*> begin{nullptr};
constinit std::size_t used = 0;
// Each holds the next one.
constinit void* free_slots = nullptr;

}  // namespace

void* ThreadSlots::take() noexcept {
  const std::lock_guard guard(lock);
  if (free_slots != nullptr) {
    void* slot = free_slots;
    free_slots = *static_cast<void**>(slot);
    return slot;
  }
  if (begin.load(std::memory_order_relaxed) == nullptr) {
    void* mapped =
        ::mmap(nullptr, kBytes * kMost, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    begin.store(static_cast<std::byte*>(mapped), std::memory_order_release);
  }
  if (used == kMost) return nullptr;
  return begin.load(std::memory_order_relaxed) + kBytes * used++;
}

void ThreadSlots::give_back(void* slot) noexcept {
  const std::lock_guard guard(lock);
  *static_cast<void**>(slot) = free_slots;
  free_slots = slot;
}

bool ThreadSlots::contains(const void* address) noexcept {
  const auto from = reinterpret_cast<std::uintptr_t>(begin.load(std::memory_order_acquire));
  return from != 0 && reinterpret_cast<std::uintptr_t>(address) - from < kBytes * kMost;
}

}  // namespace penstock::interpose
