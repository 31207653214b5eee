#include "runtime/interpose/threads/signal_actions.h"

#include <array>
#include <atomic>
#include <cerrno>

#include "penstock/spin_lock.h"
#include "runtime/fiber/plain_calls.h"
#include "runtime/interpose/fd_watch.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

PENSTOCK_REAL(sigprocmask)
PENSTOCK_REAL(pthread_sigmask)
PENSTOCK_REAL(sigpending)
PENSTOCK_REAL(sigsuspend)
PENSTOCK_REAL(sigwait)
PENSTOCK_REAL(sigwaitinfo)
PENSTOCK_REAL(sigtimedwait)

namespace penstock::interpose {
namespace {

constinit Real<int(int, const struct sigaction*, struct sigaction*)> real_sigaction{"sigaction"};
PENSTOCK_FOUND_EARLY(real_sigaction)
constinit std::atomic<bool> keeping{false};

// Written by sigaction(), read by handlers: whole, since a handler that comes in between reads again.
class Kept {
 public:
  struct sigaction get() const noexcept {
    for (;;) {
      const unsigned before = version_.load(std::memory_order_acquire);
      const struct sigaction copy = action_;
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) return copy;
    }
  }
  void set(const struct sigaction& action) noexcept {
    version_.fetch_add(1, std::memory_order_acq_rel);
    action_ = action;
    version_.fetch_add(1, std::memory_order_release);
  }

 private:
  std::atomic<unsigned> version_{0};
  struct sigaction action_ {};
};
constinit std::array<Kept, NSIG> kept{};

// Tell of what the interrupted instruction did.
bool is_fault(int number) noexcept {
  switch (number) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS:
    case SIGABRT:
      return true;
    default:
      return false;
  }
}

bool is_function(const struct sigaction& action) noexcept {
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

int fail(int error) noexcept {
  errno = error;
  return -1;
}

int change(int number, const struct sigaction* wanted, struct sigaction* old) noexcept {
  const bool known = number > 0 && number < NSIG && !is_fault(number);
  if (!keeping.load(std::memory_order_acquire) || fiber::PlainCalls::active() || !known) {
    return real_sigaction(number, wanted, old);
  }
  // A handler that runs meanwhile sees one or the other, here and on other threads.
  sigset_t all, before;
  ::sigfillset(&all);
  real::pthread_sigmask(SIG_BLOCK, &all, &before);
  static constinit SpinLock changing;
  changing.lock();
  Kept& mine = kept[static_cast<std::size_t>(number)];
  const struct sigaction previous = mine.get();
  struct sigaction installed {};
  if (wanted != nullptr) {
    installed = *wanted;
    if (is_function(*wanted)) {
      installed.sa_sigaction = come;
      installed.sa_flags |= SA_SIGINFO;
      mine.set(*wanted);
    }
  }
  struct sigaction kernels {};
  const int result = real_sigaction(number, wanted != nullptr ? &installed : nullptr, &kernels);
  const int error = errno;
  changing.unlock();
  real::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (result == 0 && old != nullptr) *old = kernels.sa_sigaction == come ? previous : kernels;
  errno = error;
  return result;
}

// Until one of the set has come, that all threads block: the kernel keeps it for whoever asks.
int await(const sigset_t& set, siginfo_t* info, Instant until) {
  constexpr timespec kNow{};
  ProgramThread* thread = ProgramThread::current();
  for (;;) {
    const int sent = thread != nullptr ? thread->take_pending(set, info) : 0;
    if (sent != 0) return sent;
    const int number = real::sigtimedwait(&set, info, &kNow);
    if (number > 0 || errno != EAGAIN) return number;
    const int fd = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) return -1;
    FdWait wait{.fd = fd, .events = EPOLLIN};
    const Ended ended = wait_for({&wait, 1}, until, {.what = "a signal"});
    ::close(fd);
    if (ended == Ended::timeout) return fail(EAGAIN);
    if (ended != Ended::ready && ended != Ended::restarted) return fail(to_errno(ended, EINTR));
  }
}

}  // namespace

void keep_handlers() noexcept { keeping.store(true, std::memory_order_release); }

struct sigaction action_of(int number) noexcept {
  return kept[static_cast<std::size_t>(number)].get();
}

bool has_handler(int number) noexcept {
  if (!keeping.load(std::memory_order_acquire) || number <= 0 || number >= NSIG || is_fault(number)) return false;
  struct sigaction kernels {};
  return real_sigaction(number, nullptr, &kernels) == 0 && kernels.sa_sigaction == come;
}

void call_handler(int number, siginfo_t* info, void* context) {
  const struct sigaction action = action_of(number);
  if ((action.sa_flags & SA_RESETHAND) != 0 && has_handler(number)) {
    // The kernel does so by itself when it is the one that sends.
    struct sigaction none {};
    real_sigaction(number, &none, nullptr);
  }
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(number, info, context);
  } else if (is_function(action)) {
    action.sa_handler(number);
  }
}

}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int sigaction(int number, const struct sigaction* wanted, struct sigaction* old) noexcept {
  return change(number, wanted, old);
}

PENSTOCK_INTERPOSED int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) noexcept {
  ProgramThread* thread = may_wait() != nullptr ? ProgramThread::current() : nullptr;
  return thread != nullptr ? change_mask(*thread, how, set, old) : real::pthread_sigmask(how, set, old);
}

PENSTOCK_INTERPOSED int sigprocmask(int how, const sigset_t* set, sigset_t* old) noexcept {
  ProgramThread* thread = may_wait() != nullptr ? ProgramThread::current() : nullptr;
  if (thread == nullptr) return real::sigprocmask(how, set, old);
  const int error = change_mask(*thread, how, set, old);
  return error == 0 ? 0 : fail(error);
}

PENSTOCK_INTERPOSED int sigpending(sigset_t* set) noexcept {
  const ProgramThread* thread = may_wait() != nullptr ? ProgramThread::current() : nullptr;
  if (real::sigpending(set) != 0) return -1;
  if (thread != nullptr) thread->add_pending(*set);
  return 0;
}

PENSTOCK_INTERPOSED int sigsuspend(const sigset_t* set) {
  ProgramThread* thread = cooperative() != nullptr ? ProgramThread::current() : nullptr;
  if (thread == nullptr) return real::sigsuspend(set);
  // What was held back comes at once.
  const MaskOfCall mask(set);
  if (!mask.interrupted()) wait_until(Instant::max(), "a signal");
  return fail(EINTR);
}

PENSTOCK_INTERPOSED int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
  return cooperative() == nullptr ? real::sigwaitinfo(set, info) : await(*set, info, Instant::max());
}

PENSTOCK_INTERPOSED int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
  if (cooperative() == nullptr) return real::sigtimedwait(set, info, timeout);
  Instant until = Instant::max();
  if (timeout != nullptr) {
    if (timeout->tv_nsec < 0 || timeout->tv_nsec >= 1'000'000'000) return fail(EINVAL);
    until = fiber::time_in(std::chrono::seconds(timeout->tv_sec) + std::chrono::nanoseconds(timeout->tv_nsec));
  }
  return await(*set, info, until);
}

PENSTOCK_INTERPOSED int sigwait(const sigset_t* set, int* number) {
  if (cooperative() == nullptr) return real::sigwait(set, number);
  for (;;) {
    const int came = await(*set, nullptr, Instant::max());
    if (came > 0) {
      *number = came;
      return 0;
    }
    if (errno != EINTR) return errno;
  }
}
