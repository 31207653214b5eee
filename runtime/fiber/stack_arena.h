#pragma once

#include <atomic>
#include <boost/context/stack_context.hpp>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace penstock::fiber {

// How guard pages are made.
enum class Guards {
  // MADV_GUARD_INSTALL, since Linux 6.13: splits no mapping, so that vm.max_map_count does not bound the number of
  // stacks.
  markers,
  // mprotect: two mappings a stack.
  protection,
};

// A stack by an address within it or within its guard page.
struct StackPlace {
  // Null: the address is in no stack.
  std::byte* lowest = nullptr;
  std::size_t bytes = 0;
  bool in_guard = false;
};

// Stacks of one size for the whole process. Address space is reserved in large pieces and never given back; memory is
// used as stacks grow into it. Below each stack lies a guard page. Thread-safe.
class StackArena {
 public:
  // The arena of that size (rounded up to whole pages). Lives as long as the process.
  static StackArena& of(std::size_t stack_bytes);

  // The best that the kernel has.
  static Guards best_guards() noexcept;
  // In the arenas of all sizes. Async-signal-safe.
  static StackPlace find(const void* address) noexcept;

  explicit StackArena(std::size_t stack_bytes, Guards guards = best_guards());
  StackArena(const StackArena&) = delete;
  StackArena& operator=(const StackArena&) = delete;

  std::size_t stack_bytes() const { return stack_bytes_; }

  // The lowest address of a stack. Throws std::bad_alloc, with a log line (one a second) that says which limit was met.
  void* take();
  // Gives the memory back to the system and keeps the address.
  void give_back(void* stack) noexcept;

  // Stacks made so far, in use or not.
  std::size_t made() const;
  // The most that any stack has ever used, in whole pages: as far as the lowest page that was touched.
  std::size_t high_water() const;

 private:
  struct Piece;
  static std::atomic<Piece*> pieces_of_all_;

  void* make();
  Piece* map(std::size_t stacks) noexcept;
  // How much of it was used, if that is more than `at_least`.
  std::size_t used(std::byte* stack, std::size_t at_least) const noexcept;

  const std::size_t stack_bytes_;
  const std::size_t slot_bytes_;
  const Guards guards_;

  mutable std::mutex mutex_;
  std::vector<Piece*> pieces_;
  std::vector<void*> free_;
  std::size_t made_ = 0;
  mutable std::size_t high_water_ = 0;
};

// The stacks that one thread keeps at hand, last used first, with their memory. Belongs to that thread.
class StackCache {
 public:
  explicit StackCache(std::size_t stack_bytes);
  ~StackCache();
  StackCache(const StackCache&) = delete;
  StackCache& operator=(const StackCache&) = delete;

  StackArena& arena() noexcept { return arena_; }
  boost::context::stack_context allocate();
  void deallocate(boost::context::stack_context& stack) noexcept;

 private:
  StackArena& arena_;
  std::vector<void*> hot_;
};

// Boost.Context's StackAllocator for one fiber, whose stack was already taken from that cache.
class StackAllocator {
 public:
  StackAllocator(StackCache& cache, const boost::context::stack_context& stack) : cache_(&cache), stack_(stack) {}
  boost::context::stack_context allocate() const noexcept { return stack_; }
  void deallocate(boost::context::stack_context& stack) noexcept { cache_->deallocate(stack); }

 private:
  StackCache* cache_;
  boost::context::stack_context stack_;
};

}  // namespace penstock::fiber
