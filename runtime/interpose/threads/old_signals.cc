#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "runtime/interpose/interposed.h"

// Functions for signals from before sigaction(), and signal(), also as programs have it that are compiled for plain C
// or X/Open.

namespace {

constexpr int kMaskOfOld = 32;

// Whose handlers siginterrupt() has end the calls that they come in, also those that signal() sets later.
constinit std::atomic<std::uint64_t> interrupting{0};

std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

sighandler_t install(int number, sighandler_t handler, int flags, bool adds_itself) noexcept {
  struct sigaction wanted {};
  struct sigaction old {};
  wanted.sa_handler = handler;
  wanted.sa_flags = flags;
  ::sigemptyset(&wanted.sa_mask);
  if (adds_itself) ::sigaddset(&wanted.sa_mask, number);
  return ::sigaction(number, &wanted, &old) == 0 ? old.sa_handler : SIG_ERR;
}

int change_one(int how, int number) noexcept {
  sigset_t set;
  ::sigemptyset(&set);
  return ::sigaddset(&set, number) == 0 ? ::sigprocmask(how, &set, nullptr) : -1;
}

sigset_t to_set(int mask) noexcept {
  sigset_t set;
  ::sigemptyset(&set);
  for (int number = 1; number <= kMaskOfOld; ++number) {
    if ((static_cast<unsigned>(mask) >> (number - 1) & 1) != 0) ::sigaddset(&set, number);
  }
  return set;
}

int to_mask(const sigset_t& set) noexcept {
  unsigned mask = 0;
  for (int number = 1; number <= kMaskOfOld; ++number) {
    if (::sigismember(&set, number) == 1) mask |= 1U << (number - 1);
  }
  return static_cast<int>(mask);
}

int change_mask(int how, int mask) noexcept {
  const sigset_t set = to_set(mask);
  sigset_t old;
  return ::sigprocmask(how, &set, &old) == 0 ? to_mask(old) : -1;
}

int suspend_without(int number) noexcept {
  sigset_t set;
  if (::sigprocmask(SIG_BLOCK, nullptr, &set) != 0 || ::sigdelset(&set, number) != 0) return -1;
  return ::sigsuspend(&set);
}

}  // namespace

PENSTOCK_INTERPOSED sighandler_t signal(int number, sighandler_t handler) noexcept {
  if (handler == SIG_ERR || number <= 0 || number >= NSIG) {
    errno = EINVAL;
    return SIG_ERR;
  }
  const bool interrupts = (interrupting.load(std::memory_order_relaxed) & bit_of(number)) != 0;
  return install(number, handler, interrupts ? 0 : SA_RESTART, true);
}
PENSTOCK_INTERPOSED sighandler_t __sysv_signal(int number, sighandler_t handler) noexcept {
  if (handler == SIG_ERR) {
    errno = EINVAL;
    return SIG_ERR;
  }
  return install(number, handler, SA_RESETHAND | SA_NODEFER, false);
}
PENSTOCK_INTERPOSED sighandler_t sysv_signal(int number, sighandler_t handler) noexcept {
  return ::__sysv_signal(number, handler);
}
PENSTOCK_INTERPOSED sighandler_t ssignal(int number, sighandler_t handler) noexcept {
  return ::signal(number, handler);
}
PENSTOCK_INTERPOSED sighandler_t bsd_signal(int number, sighandler_t handler) noexcept {
  return ::signal(number, handler);
}

PENSTOCK_INTERPOSED int siginterrupt(int number, int interrupts) noexcept {
  struct sigaction action {};
  if (::sigaction(number, nullptr, &action) != 0) return -1;
  if (interrupts != 0) {
    interrupting.fetch_or(bit_of(number), std::memory_order_relaxed);
  } else {
    interrupting.fetch_and(~bit_of(number), std::memory_order_relaxed);
  }
  action.sa_flags = interrupts != 0 ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
  return ::sigaction(number, &action, nullptr);
}

PENSTOCK_INTERPOSED sighandler_t sigset(int number, sighandler_t handler) noexcept {
  sigset_t before;
  if (::sigprocmask(SIG_BLOCK, nullptr, &before) != 0) return SIG_ERR;
  const bool was_held = ::sigismember(&before, number) == 1;
  if (handler == SIG_HOLD) {
    struct sigaction old {};
    if (change_one(SIG_BLOCK, number) != 0 || ::sigaction(number, nullptr, &old) != 0) return SIG_ERR;
    return was_held ? SIG_HOLD : old.sa_handler;
  }
  const sighandler_t old = install(number, handler, 0, false);
  if (old == SIG_ERR || change_one(SIG_UNBLOCK, number) != 0) return SIG_ERR;
  return was_held ? SIG_HOLD : old;
}

PENSTOCK_INTERPOSED int sighold(int number) noexcept { return change_one(SIG_BLOCK, number); }
PENSTOCK_INTERPOSED int sigrelse(int number) noexcept { return change_one(SIG_UNBLOCK, number); }
PENSTOCK_INTERPOSED int sigignore(int number) noexcept {
  return install(number, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
}
PENSTOCK_INTERPOSED int sigblock(int mask) noexcept { return change_mask(SIG_BLOCK, mask); }
PENSTOCK_INTERPOSED int sigsetmask(int mask) noexcept { return change_mask(SIG_SETMASK, mask); }
PENSTOCK_INTERPOSED int siggetmask() noexcept { return change_mask(SIG_BLOCK, 0); }

// Of X/Open a signal is given, of BSD a mask.
PENSTOCK_INTERPOSED int __xpg_sigpause(int number) { return suspend_without(number); }
extern "C" int __sigpause(int number_or_mask, int is_number);
PENSTOCK_INTERPOSED int __sigpause(int number_or_mask, int is_number) {
  if (is_number != 0) return suspend_without(number_or_mask);
  const sigset_t set = to_set(number_or_mask);
  return ::sigsuspend(&set);
}
