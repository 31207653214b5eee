#include "runtime/fiber/stack_arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <new>
#include <set>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/refused_calls.h"

namespace penstock::fiber {
namespace {

constexpr std::size_t kSize = 64 * 1024;

std::size_t resident_pages(void* stack) {
  std::vector<unsigned char> pages(kSize / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(::mincore(stack, kSize, pages.data()), 0);
  std::size_t n = 0;
  for (unsigned char page : pages) n += page & 1;
  return n;
}

// Whether the log says so when that is done again and again: it does once a second.
bool told(const CapturedLog& log, std::string_view line, const std::function<void()>& again) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  do {
    again();
    if (log.has(line)) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  } while (std::chrono::steady_clock::now() < give_up);
  return false;
}

TEST(StackArena, StacksAreApartAndUsable) {
  StackArena arena(kSize);
  std::set<char*> stacks;
  for (int i = 0; i < 3'000; ++i) {
    char* stack = static_cast<char*>(arena.take());
    stack[0] = stack[kSize - 1] = 'x';
    for (const char* inside : {stack, stack + kSize - 1}) {
      const StackPlace place = StackArena::find(inside);
      EXPECT_EQ(reinterpret_cast<char*>(place.lowest), stack);
      EXPECT_EQ(place.bytes, kSize);
      EXPECT_FALSE(place.in_guard);
    }
    const StackPlace guard = StackArena::find(stack - 1);
    EXPECT_EQ(reinterpret_cast<char*>(guard.lowest), stack);
    EXPECT_TRUE(guard.in_guard);
    stacks.insert(stack);
  }
  EXPECT_EQ(stacks.size(), 3'000u);
  char* previous = nullptr;
  for (char* stack : stacks) {
    if (previous != nullptr) {
      EXPECT_GT(stack - previous, static_cast<std::ptrdiff_t>(kSize));
    }
    previous = stack;
  }
  for (char* stack : stacks) arena.give_back(stack);
  for (int i = 0; i < 3'000; ++i) arena.take();
  EXPECT_EQ(arena.made(), 3'000u);
}

TEST(StackArena, WithoutAGuardThereIsNoStack) {
  for (const Guards guards : {Guards::protection, StackArena::best_guards()}) {
    const CapturedLog log;
    StackArena arena(kSize, guards);
    void* const first = arena.take();
    {
      const refused_calls::Refused refused(refused_calls::guards, ENOMEM);
      EXPECT_TRUE(told(log, "cannot guard a fiber stack: 1 stacks of 65536 bytes exist (Cannot allocate memory)",
                       [&] { EXPECT_THROW(arena.take(), std::bad_alloc); }));
      // What was guarded before is.
      arena.give_back(first);
      EXPECT_EQ(arena.take(), first);
    }
    char* const second = static_cast<char*>(arena.take());
    second[0] = second[kSize - 1] = 'x';
    EXPECT_NE(second, first);
    EXPECT_EQ(arena.made(), 2u);
  }
}

TEST(StackArena, WithoutAddressSpaceThereIsNoStack) {
  const CapturedLog log;
  StackArena arena(kSize);
  {
    const refused_calls::Refused refused(refused_calls::stacks, ENOMEM);
    EXPECT_TRUE(told(log, "no address space for more fiber stacks: 0 stacks of 65536 bytes exist",
                     [&] { EXPECT_THROW(arena.take(), std::bad_alloc); }));
  }
  EXPECT_NE(arena.take(), nullptr);
}

TEST(StackArena, MemoryIsGivenBack) {
  StackArena arena(kSize);
  void* stack = arena.take();
  std::memset(stack, 'x', kSize);
  EXPECT_GT(resident_pages(stack), 0u);
  arena.give_back(stack);
  EXPECT_EQ(resident_pages(stack), 0u);
}

TEST(StackArena, KnowsNoOtherMemory) {
  int local = 0;
  EXPECT_EQ(StackArena::find(&local).lowest, nullptr);
  EXPECT_EQ(StackArena::find(nullptr).lowest, nullptr);
}

TEST(StackArena, RemembersTheMostThatAStackHasUsed) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  StackArena arena(kSize);
  EXPECT_EQ(arena.high_water(), 0u);
  auto* stack = static_cast<char*>(arena.take());
  auto* other = static_cast<char*>(arena.take());
  stack[kSize - 1] = 'x';
  EXPECT_EQ(arena.high_water(), page);
  other[kSize - 5 * page + 1] = 'x';
  EXPECT_EQ(arena.high_water(), 5 * page);
  // Also when nobody has asked before its memory is given back.
  stack[kSize - 9 * page] = 'x';
  arena.give_back(stack);
  EXPECT_EQ(arena.high_water(), 9 * page);
  arena.give_back(other);
}

class StackArenaDeathTest : public testing::TestWithParam<Guards> {};
INSTANTIATE_TEST_SUITE_P(Guards, StackArenaDeathTest, testing::Values(StackArena::best_guards(), Guards::protection));

TEST_P(StackArenaDeathTest, OverflowMeetsTheGuardPage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // By SIGSEGV, or as a sanitizer reports it.
  EXPECT_DEATH(
      {
        StackArena arena(kSize, GetParam());
        arena.take();
        auto* stack = static_cast<volatile char*>(arena.take());
        stack[-1] = 'x';
      },
      "");
}

TEST(StackCache, TheLastUsedStackIsUsedNext) {
  StackCache cache(kSize);
  auto a = cache.allocate();
  auto b = cache.allocate();
  EXPECT_EQ(a.size, kSize);
  void* last = b.sp;
  cache.deallocate(a);
  cache.deallocate(b);
  auto c = cache.allocate();
  EXPECT_EQ(c.sp, last);
  cache.deallocate(c);
}

}  // namespace
}  // namespace penstock::fiber
