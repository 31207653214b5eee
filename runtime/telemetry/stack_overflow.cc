#include "runtime/telemetry/stack_overflow.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/stack_arena.h"
#include "runtime/telemetry/symbolizer.h"
#include "runtime/telemetry/unwinder.h"

namespace penstock::telemetry {
namespace {

constexpr std::size_t kAlternateStack = 64 * 1024;
constexpr std::size_t kCallsShown = 12;

struct sigaction old_segv, old_bus;

// Text without allocations.
class Message {
 public:
  Message& operator<<(std::string_view more) noexcept {
    const std::size_t n = std::min(more.size(), text_.size() - size_);
    std::copy_n(more.data(), n, text_.data() + size_);
    size_ += n;
    return *this;
  }
  Message& operator<<(std::size_t number) noexcept {
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return *this << std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
  }
  void write() const noexcept { [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text_.data(), size_); }

 private:
  std::array<char, 4096> text_;
  std::size_t size_ = 0;
};

void report(const fiber::StackPlace& place, const void* fault, const void* context) noexcept {
  fiber::TaskName name;
  if (fiber::Scheduler* scheduler = fiber::Scheduler::current()) {
    if (const fiber::Worker* worker = scheduler->running_at(fault)) worker->state.describe(name);
  }
  std::array<Address, kCallsShown> calls;
  const StackMemory stack = StackMemory::itself(place.lowest, place.lowest + place.bytes);
  const std::size_t count =
      Unwinder(Unwinder::NoCache{}).walk(Registers::of_signal(context), stack, calls.data(), calls.size());
  Message message;
  message << "penstock: stack overflow: fiber '" << name.view() << "' used all " << place.bytes / 1024
          << " KiB of its stack";
  if (count > 0) message << ", in " << find_mangled_name(calls[0]).name;
  message << ".\n  Raise RuntimeOptions::stack_bytes, or keep large objects off the stack. Innermost calls"
             " (c++filt reads them):\n";
  for (std::size_t i = 0; i < count; ++i) {
    const MangledName call = find_mangled_name(calls[i]);
    message << "    " << (call.name[0] != '\0' ? call.name : "?") << " (" << call.object << ")\n";
  }
  message.write();
}

void on_fault(int number, siginfo_t* info, void* context) noexcept {
  const fiber::StackPlace place = fiber::StackArena::find(info->si_addr);
  if (place.in_guard) report(place, info->si_addr, context);
  const struct sigaction& old = number == SIGSEGV ? old_segv : old_bus;
  if (!place.in_guard && (old.sa_flags & SA_SIGINFO) != 0) return old.sa_sigaction(number, info, context);
  if (!place.in_guard && old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) return old.sa_handler(number);
  // The instruction that failed is tried again, and fails again.
  ::signal(number, SIG_DFL);
}

}  // namespace

AlternateStack::AlternateStack() {
  stack_t present{};
  ::sigaltstack(nullptr, &present);
  if ((present.ss_flags & SS_DISABLE) == 0) return;
  memory_ = std::make_unique<std::byte[]>(kAlternateStack);
  stack_t mine{};
  mine.ss_sp = memory_.get();
  mine.ss_size = kAlternateStack;
  ::sigaltstack(&mine, nullptr);
}

AlternateStack::~AlternateStack() {
  if (!memory_) return;
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  ::sigaltstack(&none, nullptr);
}

void diagnose_stack_overflows() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGSEGV, &action, &old_segv);
    ::sigaction(SIGBUS, &action, &old_bus);
  });
#endif
}

}  // namespace penstock::telemetry
