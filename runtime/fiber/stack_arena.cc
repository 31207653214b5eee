#include "runtime/fiber/stack_arena.h"

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <new>

#include "runtime/fiber/sanitizer.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

namespace penstock::fiber {
namespace {

// Small enough that a strict overcommit limit is met late, large enough that mappings stay few.
constexpr std::size_t kStacksPerPiece = 1024;
// Stacks that a thread keeps with their memory.
constexpr std::size_t kHotStacks = 1024;

std::size_t page_bytes() {
  static const std::size_t bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::size_t whole_pages(std::size_t bytes) { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }

// Guarding by madvise splits no mapping, so that vm.max_map_count does not bound the number of stacks.
bool guard(void* page) {
  static const bool kernel_has_guards = [] {
    void* probe = ::mmap(nullptr, page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED) return false;
    const bool has = ::madvise(probe, page_bytes(), MADV_GUARD_INSTALL) == 0;
    ::munmap(probe, page_bytes());
    return has;
  }();
  if (kernel_has_guards) return ::madvise(page, page_bytes(), MADV_GUARD_INSTALL) == 0;
  return ::mprotect(page, page_bytes(), PROT_NONE) == 0;
}

}  // namespace

StackArena& StackArena::of(std::size_t stack_bytes) {
  static std::mutex mutex;
  // Never destroyed: threads may end after static destructors have begun.
  static auto& arenas = *new std::map<std::size_t, std::unique_ptr<StackArena>>;
  std::lock_guard lock(mutex);
  auto& arena = arenas[whole_pages(stack_bytes)];
  if (!arena) arena = std::make_unique<StackArena>(stack_bytes);
  return *arena;
}

StackArena::StackArena(std::size_t stack_bytes)
    : stack_bytes_(whole_pages(stack_bytes)), slot_bytes_(stack_bytes_ + page_bytes()) {}

void* StackArena::take() {
  std::lock_guard lock(mutex_);
  if (free_.empty()) return make();
  void* stack = free_.back();
  free_.pop_back();
  sanitizer::stack_is_used(stack, stack_bytes_);
  return stack;
}

void* StackArena::make() {
  // Room for every stack on the free list, so that giving back cannot fail.
  free_.reserve(made_ + 1);
  if (pieces_.empty() || pieces_.back().used == kStacksPerPiece) {
    pieces_.reserve(pieces_.size() + 1);
    const std::size_t bytes = slot_bytes_ * kStacksPerPiece;
    void* begin =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (begin == MAP_FAILED) {
      spdlog::error("no address space for more fiber stacks: {} stacks of {} bytes exist ({})", made_, stack_bytes_,
                    std::strerror(errno));
      throw std::bad_alloc();
    }
    // Stacks are mostly untouched: a huge page would make each use 2 MiB.
    ::madvise(begin, bytes, MADV_NOHUGEPAGE);
    pieces_.push_back({static_cast<std::byte*>(begin), 0});
  }
  Piece& piece = pieces_.back();
  std::byte* slot = piece.begin + piece.used * slot_bytes_;
  if (!guard(slot)) {
    spdlog::error("cannot guard a fiber stack: {} stacks of {} bytes exist ({}); vm.max_map_count may be too low",
                  made_, stack_bytes_, std::strerror(errno));
    throw std::bad_alloc();
  }
  ++piece.used;
  ++made_;
  return slot + page_bytes();
}

void StackArena::give_back(void* stack) noexcept {
  ::madvise(stack, stack_bytes_, MADV_DONTNEED);
  sanitizer::stack_is_free(stack, stack_bytes_);
  std::lock_guard lock(mutex_);
  free_.push_back(stack);
}

std::size_t StackArena::made() const {
  std::lock_guard lock(mutex_);
  return made_;
}

bool StackArena::is_guard(const void* address) const noexcept {
  const auto* at = static_cast<const std::byte*>(address);
  std::lock_guard lock(mutex_);
  for (const Piece& piece : pieces_) {
    if (at < piece.begin || at >= piece.begin + piece.used * slot_bytes_) continue;
    return static_cast<std::size_t>(at - piece.begin) % slot_bytes_ < page_bytes();
  }
  return false;
}

StackCache::StackCache(std::size_t stack_bytes) : arena_(StackArena::of(stack_bytes)) { hot_.reserve(kHotStacks); }

StackCache::~StackCache() {
  for (void* stack : hot_) arena_.give_back(stack);
}

boost::context::stack_context StackCache::allocate() {
  void* stack;
  if (hot_.empty()) {
    stack = arena_.take();
  } else {
    stack = hot_.back();
    hot_.pop_back();
    sanitizer::stack_is_used(stack, arena_.stack_bytes());
  }
  boost::context::stack_context context;
  context.size = arena_.stack_bytes();
  context.sp = static_cast<std::byte*>(stack) + context.size;
  return context;
}

void StackCache::deallocate(boost::context::stack_context& stack) noexcept {
  void* lowest = static_cast<std::byte*>(stack.sp) - stack.size;
  if (hot_.size() < kHotStacks) {
    sanitizer::stack_is_free(lowest, stack.size);
    hot_.push_back(lowest);
  } else {
    arena_.give_back(lowest);
  }
}

}  // namespace penstock::fiber
