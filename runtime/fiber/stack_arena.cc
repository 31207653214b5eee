#include "runtime/fiber/stack_arena.h"

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <new>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/sanitizer.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

namespace penstock::fiber {
namespace {

// Small enough that a strict overcommit limit is met late, large enough that mappings stay few.
constexpr std::size_t kStacksPerPiece = 1024;
constexpr std::size_t kLeastPiece = 8 * 1024 * 1024;
// Stacks that a thread keeps with their memory, besides those of idle workers.
constexpr std::size_t kHotStacks = 64;
constexpr auto kComplainEvery = std::chrono::seconds(1);

std::size_t page_bytes() {
  static const std::size_t bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::size_t whole_pages(std::size_t bytes) { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }

bool guard(void* page, Guards by) {
  if (by == Guards::markers) return ::madvise(page, page_bytes(), MADV_GUARD_INSTALL) == 0;
  return ::mprotect(page, page_bytes(), PROT_NONE) == 0;
}

// One line a second, from all threads.
bool may_complain() {
  static std::atomic<std::int64_t> next{0};
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  std::int64_t at = next.load(std::memory_order_relaxed);
  return now.count() >= at && next.compare_exchange_strong(at, (now + kComplainEvery).count());
}

}  // namespace

// Never destroyed, as its address space is not.
struct StackArena::Piece {
  std::byte* begin;
  std::size_t stacks;
  std::size_t slot_bytes;
  std::atomic<std::size_t> used{0};
  Piece* next = nullptr;
};

constinit std::atomic<StackArena::Piece*> StackArena::pieces_of_all_{nullptr};

Guards StackArena::best_guards() noexcept {
  static const Guards best = [] {
    void* probe = ::mmap(nullptr, page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED) return Guards::protection;
    const bool has_markers = guard(probe, Guards::markers);
    ::munmap(probe, page_bytes());
    return has_markers ? Guards::markers : Guards::protection;
  }();
  return best;
}

StackPlace StackArena::find(const void* address) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  for (const Piece* piece = pieces_of_all_.load(std::memory_order_acquire); piece != nullptr; piece = piece->next) {
    const auto begin = reinterpret_cast<std::uintptr_t>(piece->begin);
    if (at < begin || at - begin >= piece->used.load(std::memory_order_acquire) * piece->slot_bytes) continue;
    const std::size_t slot = (at - begin) / piece->slot_bytes;
    // Both are known: a stack was made before.
    const std::size_t page = page_bytes();
    return {piece->begin + slot * piece->slot_bytes + page, piece->slot_bytes - page,
            at - begin - slot * piece->slot_bytes < page};
  }
  return {};
}

StackArena& StackArena::of(std::size_t stack_bytes) {
  static std::mutex mutex;
  // Never destroyed: threads may end after static destructors have begun.
  static auto& arenas = *new std::map<std::size_t, std::unique_ptr<StackArena>>;
  std::lock_guard lock(mutex);
  auto& arena = arenas[whole_pages(stack_bytes)];
  if (!arena) arena = std::make_unique<StackArena>(stack_bytes);
  return *arena;
}

StackArena::StackArena(std::size_t stack_bytes, Guards guards)
    : stack_bytes_(whole_pages(stack_bytes)), slot_bytes_(stack_bytes_ + page_bytes()), guards_(guards) {}

void* StackArena::take() {
  std::lock_guard lock(mutex_);
  if (free_.empty()) return make();
  void* stack = free_.back();
  free_.pop_back();
  sanitizer::stack_is_used(stack, stack_bytes_);
  return stack;
}

StackArena::Piece* StackArena::map(std::size_t stacks) noexcept {
  std::size_t bytes;
  if (__builtin_mul_overflow(slot_bytes_, stacks, &bytes)) return nullptr;
  void* begin =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (begin == MAP_FAILED) return nullptr;
  auto* piece = new (std::nothrow) Piece{static_cast<std::byte*>(begin), stacks, slot_bytes_};
  if (piece == nullptr) {
    ::munmap(begin, bytes);
    return nullptr;
  }
  // Stacks are mostly untouched: a huge page would make each use 2 MiB.
  ::madvise(begin, bytes, MADV_NOHUGEPAGE);
  piece->next = pieces_of_all_.load(std::memory_order_relaxed);
  while (!pieces_of_all_.compare_exchange_weak(piece->next, piece, std::memory_order_release)) {
  }
  return piece;
}

void* StackArena::make() {
  // Room for every stack on the free list, so that giving back cannot fail.
  if (free_.capacity() <= made_) free_.reserve(std::max<std::size_t>(64, 2 * made_));
  if (pieces_.empty() || pieces_.back()->used == pieces_.back()->stacks) {
    pieces_.reserve(pieces_.size() + 1);
    Piece* piece = map(kStacksPerPiece);
    // Under a limit of address space that is nearly met; whatever is left is the heap's.
    if (piece == nullptr) piece = map(std::max<std::size_t>(1, kLeastPiece / slot_bytes_));
    if (piece == nullptr) {
      if (may_complain()) {
        spdlog::error("no address space for more fiber stacks: {} stacks of {} bytes exist ({})", made_, stack_bytes_,
                      std::strerror(errno));
      }
      throw std::bad_alloc();
    }
    pieces_.push_back(piece);
  }
  Piece& piece = *pieces_.back();
  const std::size_t index = piece.used.load(std::memory_order_relaxed);
  std::byte* slot = piece.begin + index * slot_bytes_;
  if (!guard(slot, guards_)) {
    if (may_complain()) {
      spdlog::error("cannot guard a fiber stack: {} stacks of {} bytes exist ({}); vm.max_map_count may be too low",
                    made_, stack_bytes_, std::strerror(errno));
    }
    throw std::bad_alloc();
  }
  piece.used.store(index + 1, std::memory_order_release);
  ++made_;
  return slot + page_bytes();
}

void StackArena::give_back(void* stack) noexcept {
  std::unique_lock lock(mutex_);
  const std::size_t known = high_water_;
  lock.unlock();
  const std::size_t used_here = used(static_cast<std::byte*>(stack), known);
  ::madvise(stack, stack_bytes_, MADV_DONTNEED);
  sanitizer::stack_is_free(stack, stack_bytes_);
  lock.lock();
  high_water_ = std::max(high_water_, used_here);
  free_.push_back(stack);
}

std::size_t StackArena::used(std::byte* stack, std::size_t at_least) const noexcept {
  // Stacks grow downwards without gaps longer than that, or the guard page would be no help either.
  constexpr std::size_t kPages = 64;
  unsigned char resident[kPages];
  std::size_t found = at_least;
  std::size_t looked_at = at_least;
  while (looked_at < stack_bytes_) {
    const std::size_t bytes = std::min(kPages * page_bytes(), stack_bytes_ - looked_at);
    std::byte* lowest = stack + stack_bytes_ - looked_at - bytes;
    if (::mincore(lowest, bytes, resident) != 0) break;
    const unsigned char* const begin = resident;
    const unsigned char* const end = begin + bytes / page_bytes();
    const auto* first = std::find_if(begin, end, [](unsigned char page) { return (page & 1) != 0; });
    if (first == end) break;
    found = looked_at + static_cast<std::size_t>(end - first) * page_bytes();
    looked_at += bytes;
  }
  return found;
}

std::size_t StackArena::high_water() const {
  std::unique_lock lock(mutex_);
  const std::vector<Piece*> pieces = pieces_;
  std::size_t most = high_water_;
  lock.unlock();
  for (const Piece* piece : pieces) {
    const std::size_t stacks = piece->used.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < stacks; ++i) most = used(piece->begin + i * slot_bytes_ + page_bytes(), most);
  }
  lock.lock();
  return high_water_ = std::max(high_water_, most);
}

std::size_t StackArena::made() const {
  std::lock_guard lock(mutex_);
  return made_;
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
    const PlainCalls plain;
    arena_.give_back(lowest);
  }
}

}  // namespace penstock::fiber
