#include "runtime/telemetry/unwinder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <array>
#include <boost/context/fixedsize_stack.hpp>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "runtime/telemetry/suspended_context.h"
#include "runtime/telemetry/symbolizer.h"

#if !defined(__x86_64__)
#define NO_STACKS_HERE GTEST_SKIP() << "stacks are walked on x86_64 only"
#else
#define NO_STACKS_HERE static_cast<void>(0)
#endif

namespace penstock::telemetry {

std::vector<std::string> names;
boost::context::fiber* resumer = nullptr;

// External, so that even a stripped table names them; and not inlined nor ended by a jump.
[[gnu::noinline]] void suspended_here() {
  *resumer = std::move(*resumer).resume();
  asm volatile("");
}
[[gnu::noinline]] void calls_the_suspended() {
  suspended_here();
  asm volatile("");
}

[[gnu::noinline]] int raises_a_signal(int depth) {
  // Wide alignment: the stack is realigned, and the caller found by way of memory.
  alignas(64) volatile int wide[16] = {depth};
  if (depth > 0) return raises_a_signal(depth - 1) + wide[0];
  ::raise(SIGUSR2);
  return wide[0];
}

namespace {

std::vector<std::string> named(const std::vector<Address>& calls) {
  std::vector<std::string> result;
  for (const Address call : calls) result.push_back(Symbolizer::instance().find(call).function);
  return result;
}

std::ptrdiff_t open_descriptors() { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); }

TEST(Symbolizer, KeepsNoDescriptorOfTheFilesThatItReads) {
  const std::ptrdiff_t before = open_descriptors();
  const Symbol own = Symbolizer::instance().find(reinterpret_cast<Address>(&suspended_here));
  EXPECT_THAT(own.function, testing::StartsWith("penstock::telemetry::suspended_here"));
  EXPECT_EQ(own.file.substr(own.file.rfind('/') + 1), "unwinder_test.cc");
  EXPECT_EQ(Symbolizer::instance().find(reinterpret_cast<Address>(&::pthread_self)).object.substr(0, 4), "libc");
  EXPECT_EQ(open_descriptors(), before);
}

StackMemory stack_of_this_thread() {
  pthread_attr_t attributes;
  void* low = nullptr;
  std::size_t bytes = 0;
  ::pthread_getattr_np(::pthread_self(), &attributes);
  ::pthread_attr_getstack(&attributes, &low, &bytes);
  ::pthread_attr_destroy(&attributes);
  return StackMemory::itself(low, static_cast<std::byte*>(low) + bytes);
}

int index_of(const std::vector<std::string>& names, const std::string& name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].find(name) != std::string::npos) return static_cast<int>(i);
  }
  return -1;
}

TEST(Unwinder, WalksTheStackOfASuspendedContext) {
  NO_STACKS_HERE;
  boost::context::fixedsize_stack allocator(64 * 1024);
  auto stack = allocator.allocate();
  const auto* top = static_cast<const std::byte*>(stack.sp);
  boost::context::fiber context(std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack),
                                allocator, [](boost::context::fiber&& back) {
                                  resumer = &back;
                                  calls_the_suspended();
                                  return std::move(back);
                                });
  context = std::move(context).resume();
  ASSERT_TRUE(context);
  Unwinder unwinder;
  for (int round = 0; round < 2; ++round) {
    std::vector<Address> calls(64);
    calls.resize(unwinder.walk(Registers::of_fcontext(saved_of(context)), StackMemory::itself(top - stack.size, top),
                               calls.data(), calls.size()));
    const auto names = named(calls);
    const int inner = index_of(names, "suspended_here");
    ASSERT_GE(inner, 0) << testing::PrintToString(names);
    EXPECT_EQ(index_of(names, "calls_the_suspended"), inner + 1) << testing::PrintToString(names);
    EXPECT_GE(index_of(names, "fiber_entry"), inner + 2) << testing::PrintToString(names);
  }
  context = std::move(context).resume();
  EXPECT_FALSE(context);
}

std::array<Address, 64> interrupted;
std::size_t interrupted_count = 0;
StackMemory interrupted_stack;

TEST(Unwinder, WalksWhatASignalInterrupted) {
  NO_STACKS_HERE;
  interrupted_stack = stack_of_this_thread();
  struct sigaction action {
  }, previous;
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    Unwinder unwinder{Unwinder::NoCache{}};
    interrupted_count =
        unwinder.walk(Registers::of_signal(context), interrupted_stack, interrupted.data(), interrupted.size());
  };
  ASSERT_EQ(::sigaction(SIGUSR2, &action, &previous), 0);
  raises_a_signal(3);
  ::sigaction(SIGUSR2, &previous, nullptr);
  const auto names = named({interrupted.begin(), interrupted.begin() + static_cast<std::ptrdiff_t>(interrupted_count)});
  const int inner = index_of(names, "raises_a_signal");
  ASSERT_GE(inner, 1) << testing::PrintToString(names);
  EXPECT_NE(names[static_cast<std::size_t>(inner) + 3].find("raises_a_signal"), std::string::npos);
  EXPECT_GT(index_of(names, "WalksWhatASignalInterrupted"), inner + 3) << testing::PrintToString(names);
  EXPECT_GT(index_of(names, "main"), 0) << testing::PrintToString(names);
}

TEST(Unwinder, StopsAtTheEndOfItsMemory) {
  Unwinder unwinder;
  Address calls[8];
  Registers nowhere;
  EXPECT_EQ(unwinder.walk(nowhere, {}, calls, 8), 0U);
  nowhere.set(Registers::kReturn, 0x1234);
  nowhere.set(Registers::kRsp, 0x5678);
  EXPECT_EQ(unwinder.walk(nowhere, {}, calls, 8), 1U);
}

TEST(Symbolizer, NamesFunctionAndLine) {
  const Symbol symbol = Symbolizer::instance().find(reinterpret_cast<Address>(&suspended_here) + 4);
  EXPECT_EQ(symbol.function, "penstock::telemetry::suspended_here()");
  EXPECT_NE(symbol.text(0).find("unwinder_test.cc:"), std::string::npos) << symbol.text(0);
  EXPECT_EQ(Symbolizer::instance().find(0x10).text(0x10), "0x10 in ?");
}

TEST(Symbolizer, NamesWithoutAllocating) {
  const MangledName name = find_mangled_name(reinterpret_cast<Address>(&suspended_here) + 4);
  EXPECT_STREQ(name.name, "_ZN8penstock9telemetry14suspended_hereEv");
  EXPECT_STREQ(name.object, "exe");
  EXPECT_STREQ(find_mangled_name(reinterpret_cast<Address>(&::pthread_getattr_np) + 4).object, "libc.so.6");
}

}  // namespace
}  // namespace penstock::telemetry
