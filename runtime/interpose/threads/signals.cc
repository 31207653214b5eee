#include "runtime/interpose/threads/signals.h"

#include <link.h>
#include <pthread.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signal_actions.h"

PENSTOCK_REAL(pthread_kill)
PENSTOCK_REAL(pthread_sigmask)
PENSTOCK_REAL(pthread_self)

namespace penstock::interpose {
namespace {

// Code in which a handler must not run: ours, and Boost's. Of what it calls, nothing is left half done that a handler
// may touch.
struct Range {
  std::uintptr_t begin;
  std::uintptr_t end;
};
constinit std::array<Range, 4> own_code{};

// What the kernel keeps of a sigset_t.
constexpr std::size_t kKernelsMaskBytes = NSIG / 8;

int find_code(dl_phdr_info* info, std::size_t, void* argument) {
  auto& next = *static_cast<std::size_t*>(argument);
  const std::string_view path = info->dlpi_name;
  bool wanted = path.find("/libboost_fiber.") != path.npos || path.find("/libboost_context.") != path.npos;
  const auto here = reinterpret_cast<std::uintptr_t>(&find_code);
  Range code{UINTPTR_MAX, 0};
  for (ElfW(Half) i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    code.begin = std::min(code.begin, info->dlpi_addr + part.p_vaddr);
    code.end = std::max(code.end, info->dlpi_addr + part.p_vaddr + part.p_memsz);
  }
  wanted = wanted || (here >= code.begin && here < code.end);
  if (wanted && next < own_code.size()) own_code[next++] = code;
  return 0;
}

bool in_own_code(const void* context) noexcept {
  const auto at = static_cast<std::uintptr_t>(static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  return std::any_of(own_code.begin(), own_code.end(),
                     [at](const Range& range) { return at >= range.begin && at < range.end; });
}

// What has come for a fiber to be told, in order: of a thread, whose handlers add to it, one inside another, and whose
// dispatcher takes from it. Signals of real time are each told of by themselves.
class Queue {
 public:
  struct One {
    int number;
    siginfo_t info;
  };
  // False: it is full.
  bool add(int number, const siginfo_t& info) noexcept {
    if (added_.load(std::memory_order_relaxed) - taken_ >= kSize - kInside) return false;
    ring_[added_.fetch_add(1) % kSize] = {number, info};
    return true;
  }
  bool take(One& one) noexcept {
    if (taken_ == added_.load()) return false;
    one = ring_[taken_ % kSize];
    taken_ = taken_ + 1;
    return true;
  }

 private:
  static constexpr unsigned kSize = 128;
  // Handlers that may be about to add at the same time.
  static constexpr unsigned kInside = 32;
  std::array<One, kSize> ring_;
  std::atomic<unsigned> added_{0};
  volatile unsigned taken_ = 0;
};

// How often each of the others has come and was not yet handled, and what was told of it last.
struct Arrived {
  std::atomic<unsigned> times{0};
  siginfo_t info;
};

// Of one scheduler thread, and touched by that alone.
struct Signals {
  explicit Signals(std::shared_ptr<fiber::Inbox> inbox) : home(std::move(inbox)) {}
  const std::shared_ptr<fiber::Inbox> home;
  std::array<Arrived, NSIG> arrived{};
  Queue queue;
  // Who blocks each, of how many.
  std::array<unsigned, NSIG> blocked_by{};
  unsigned threads = 0;
  sigset_t kernels{};
};
// Never destroyed. Null: the thread runs no fibers of the program.
constinit thread_local Signals* mine = nullptr;

// Those that run on a thread that runs no fibers of the program.
constinit thread_local HandlerRun* of_plain_thread = nullptr;

HandlerRun*& innermost_handler() noexcept {
  ProgramThread* thread = ProgramThread::current();
  return thread != nullptr ? thread->handlers : of_plain_thread;
}

sigset_t wanted_of_kernel() noexcept {
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (int number = 1; number < NSIG; ++number) {
    if (mine->blocked_by[static_cast<std::size_t>(number)] == mine->threads) ::sigaddset(&wanted, number);
  }
  return wanted;
}

void set_kernels(const sigset_t& wanted) noexcept {
  mine->kernels = wanted;
  real::pthread_sigmask(SIG_SETMASK, &wanted, nullptr);
}

void apply_masks() noexcept {
  const sigset_t wanted = wanted_of_kernel();
  if (std::memcmp(&wanted, &mine->kernels, sizeof wanted) != 0) set_kernels(wanted);
}

void count(const sigset_t& blocked, unsigned by) noexcept {
  for (int number = 1; number < NSIG; ++number) {
    if (::sigismember(&blocked, number) == 1) mine->blocked_by[static_cast<std::size_t>(number)] += by;
  }
}

void note_blocked(ProgramThread& thread, const sigset_t& next) noexcept {
  count(thread.blocked, -1U);
  count(next, 1);
  thread.blocked = next;
}

void set_blocked(ProgramThread& thread, const sigset_t& next) noexcept {
  if (mine == nullptr) {
    // A child that was forked in the handler.
    thread.blocked = next;
    real::pthread_sigmask(SIG_SETMASK, &next, nullptr);
    return;
  }
  note_blocked(thread, next);
  apply_masks();
}

sigset_t blocked_in_handler(const sigset_t& before, int number) noexcept {
  const struct sigaction action = action_of(number);
  sigset_t blocked;
  ::sigorset(&blocked, &before, &action.sa_mask);
  if ((action.sa_flags & SA_NODEFER) == 0) ::sigaddset(&blocked, number);
  return blocked;
}

// In the midst of the program's code, where the kernel has interrupted it and blocks what the handler asks for. It goes
// back to the mask that `context` has.
void run_handler_here(int number, siginfo_t* info, ucontext_t& context) noexcept {
  ProgramThread* thread = mine != nullptr ? ProgramThread::current() : nullptr;
  HandlerRun*& innermost = innermost_handler();
  HandlerRun run{.interrupted_at = reinterpret_cast<const char*>(context.uc_mcontext.gregs[REG_RSP]),
                 .in_midst = true,
                 .outer = innermost};
  innermost = &run;
  if (thread == nullptr) {
    call_handler(number, info, &context);
    innermost_handler() = run.outer;
    return;
  }
  const sigset_t before = thread->blocked;
  note_blocked(*thread, blocked_in_handler(before, number));
  call_handler(number, info, &context);
  thread->handlers = run.outer;
  // None: a child that was forked meanwhile, which has the mask of its only thread.
  if (mine == nullptr) return;
  note_blocked(*thread, before);
  mine->kernels = wanted_of_kernel();
  std::memcpy(&context.uc_sigmask, &mine->kernels, kKernelsMaskBytes);
}

// Whether this is the thread of the program's first.
bool is_first() noexcept { return ProgramThread::first_one()->handle() == real::pthread_self(); }

ProgramThread* taker_of(int number) noexcept {
  ProgramThread* first = ProgramThread::first_one();
  if (is_first() && !first->ended() && ::sigismember(&first->blocked, number) == 0) return first;
  for (fiber::Properties& fiber : fiber::Scheduler::current()->fibers()) {
    ProgramThread* thread = ProgramThread::run_by(fiber.state);
    if (thread != nullptr && ::sigismember(&thread->blocked, number) == 0) return thread;
  }
  return nullptr;
}

void deliver(int number, const siginfo_t& info) noexcept {
  ProgramThread* thread = taker_of(number);
  if (thread == nullptr && is_first()) thread = ProgramThread::first_one();
  if (thread != nullptr) {
    thread->take_signal(number, info);
  } else {
    // Whoever did not block it has ended meanwhile.
    real::pthread_kill(ProgramThread::first_one()->handle(), number);
  }
}

// On the dispatcher.
void deliver_all() noexcept {
  for (int number = 1; number < NSIG; ++number) {
    Arrived& signal = mine->arrived[static_cast<std::size_t>(number)];
    for (unsigned left = signal.times.exchange(0); left != 0; --left) deliver(number, signal.info);
  }
  for (Queue::One one; mine->queue.take(one);) deliver(one.number, one.info);
}

bool may_run_here(int number, const void* context) noexcept {
  if (fiber::PlainCalls::active() || holds_parking_row() || in_own_code(context)) return false;
  const ProgramThread* thread = ProgramThread::current();
  return thread != nullptr && ::sigismember(&thread->blocked, number) == 0;
}

}  // namespace

void come(int number, siginfo_t* info, void* context) noexcept {
  const int error = errno;
  if (mine == nullptr || fiber::Scheduler::current() == nullptr || may_run_here(number, context)) {
    run_handler_here(number, info, *static_cast<ucontext_t*>(context));
  } else {
    if (number < SIGRTMIN || !mine->queue.add(number, *info)) {
      Arrived& signal = mine->arrived[static_cast<std::size_t>(number)];
      signal.info = *info;
      signal.times.fetch_add(1);
    }
    mine->home->interrupt(deliver_all);
  }
  errno = error;
}

void take_signals(const std::shared_ptr<fiber::Inbox>& home, ProgramThread* first) {
  if (first != nullptr) {
    std::size_t next = 0;
    ::dl_iterate_phdr(find_code, &next);
  }
  auto made = std::make_unique<Signals>(home);
  real::pthread_sigmask(SIG_SETMASK, nullptr, &made->kernels);
  mine = made.release();
  if (first == nullptr) return;
  first->blocked = mine->kernels;
  begin_mask(first->blocked);
}

void begin_mask(const sigset_t& blocked) noexcept {
  ++mine->threads;
  count(blocked, 1);
  apply_masks();
}

void end_mask(const sigset_t& blocked) noexcept {
  --mine->threads;
  count(blocked, -1U);
  apply_masks();
}

int change_mask(ProgramThread& thread, int how, const sigset_t* set, sigset_t* old) noexcept {
  const sigset_t before = thread.blocked;
  if (set != nullptr) {
    sigset_t next = before;
    switch (how) {
      case SIG_BLOCK:
        ::sigorset(&next, &before, set);
        break;
      case SIG_UNBLOCK:
        for (int number = 1; number < NSIG; ++number) {
          if (::sigismember(set, number) == 1) ::sigdelset(&next, number);
        }
        break;
      case SIG_SETMASK:
        next = *set;
        break;
      default:
        return EINVAL;
    }
    ::sigdelset(&next, SIGKILL);
    ::sigdelset(&next, SIGSTOP);
    set_blocked(thread, next);
  }
  if (old != nullptr) *old = before;
  if (set != nullptr) thread.handle_signals();
  return 0;
}

bool handle(int number, siginfo_t& info) {
  ProgramThread& thread = *ProgramThread::current();
  const bool goes_on = (action_of(number).sa_flags & SA_RESTART) != 0;
  const sigset_t before = thread.blocked;
  HandlerRun run{.interrupted_at = static_cast<const char*>(__builtin_frame_address(0)),
                 .in_midst = false,
                 .outer = thread.handlers};
  thread.handlers = &run;
  set_blocked(thread, blocked_in_handler(before, number));
  ucontext_t context{};
  call_handler(number, &info, &context);
  thread.handlers = run.outer;
  set_blocked(thread, before);
  return goes_on;
}

void leave_handlers(const char* to, const sigset_t* restored, sigset_t& kernels) noexcept {
  HandlerRun*& innermost = innermost_handler();
  bool left_kernels = false;
  for (; innermost != nullptr && innermost->interrupted_at <= to; innermost = innermost->outer) {
    left_kernels = left_kernels || innermost->in_midst;
  }
  ProgramThread* thread = may_wait() != nullptr ? ProgramThread::current() : nullptr;
  if (thread == nullptr || mine == nullptr) {
    if (restored != nullptr) kernels = *restored;
    return;
  }
  if (restored != nullptr) note_blocked(*thread, *restored);
  if (left_kernels) {
    set_kernels(wanted_of_kernel());
  } else {
    apply_masks();
  }
  thread->look_for_interruptions();
  kernels = mine->kernels;
}

bool can_be_sent(int number) noexcept {
  for (const HandlerRun* run = innermost_handler(); run != nullptr; run = run->outer) {
    if (run->in_midst) return false;
  }
  return has_handler(number);
}

MaskOfCall::MaskOfCall(const sigset_t* mask) noexcept
    : mask_(mask), thread_(mask != nullptr && may_wait() != nullptr ? ProgramThread::current() : nullptr) {
  if (thread_ == nullptr) return;
  handled_ = thread_->signals_handled;
  change_mask(*thread_, SIG_SETMASK, mask, &before_);
}

MaskOfCall::~MaskOfCall() {
  if (thread_ == nullptr) return;
  const int error = errno;
  change_mask(*thread_, SIG_SETMASK, &before_, nullptr);
  errno = error;
}

bool MaskOfCall::interrupted() const noexcept { return thread_ != nullptr && thread_->signals_handled != handled_; }

void begin_child_mask(const sigset_t& blocked) noexcept {
  mine = nullptr;
  real::pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
}

}  // namespace penstock::interpose
