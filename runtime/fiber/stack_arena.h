#pragma once

#include <boost/context/stack_context.hpp>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace penstock::fiber {

// Stacks of one size for the whole process. Address space is reserved in large pieces and never given back; memory is
// used as stacks grow into it. Below each stack lies a guard page. Thread-safe.
class StackArena {
 public:
  // The arena of that size (rounded up to whole pages). Lives as long as the process.
  static StackArena& of(std::size_t stack_bytes);

  explicit StackArena(std::size_t stack_bytes);
  StackArena(const StackArena&) = delete;
  StackArena& operator=(const StackArena&) = delete;

  std::size_t stack_bytes() const { return stack_bytes_; }

  // The lowest address of a stack. Throws std::bad_alloc, with a log line that says which limit was met.
  void* take();
  // Gives the memory back to the system and keeps the address.
  void give_back(void* stack) noexcept;

  // Stacks made so far, in use or not.
  std::size_t made() const;
  // Whether `address` is in a guard page.
  bool is_guard(const void* address) const noexcept;

 private:
  struct Piece {
    std::byte* begin;
    std::size_t used;
  };
  void* make();

  const std::size_t stack_bytes_;
  const std::size_t slot_bytes_;

  mutable std::mutex mutex_;
  std::vector<Piece> pieces_;
  std::vector<void*> free_;
  std::size_t made_ = 0;
};

// The stacks that one thread keeps at hand, last used first, with their memory. Belongs to that thread.
class StackCache {
 public:
  explicit StackCache(std::size_t stack_bytes);
  ~StackCache();
  StackCache(const StackCache&) = delete;
  StackCache& operator=(const StackCache&) = delete;

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
