#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "penstock/spin_lock.h"
#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"

// wait, waitpid, wait3, wait4, waitid, system.

PENSTOCK_REAL(wait4)
PENSTOCK_REAL(waitid)
PENSTOCK_REAL(system)

namespace penstock::interpose {
namespace {

constexpr auto kFirstPause = std::chrono::microseconds(200);
constexpr auto kLongestPause = std::chrono::milliseconds(10);

// Until the child may have changed. Nothing tells of a group's children, or of stopped ones: they are asked for again
// and again.
class ChildWait {
 public:
  // pid 0: any of several.
  explicit ChildWait(pid_t pid) noexcept : fd_(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1) {}
  ~ChildWait() {
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    errno = error;
  }
  ChildWait(const ChildWait&) = delete;
  ChildWait& operator=(const ChildWait&) = delete;

  // False, with errno: the request's time is up.
  bool wait() noexcept {
    Ended ended;
    if (fd_ >= 0) {
      FdWait wait{.fd = fd_, .events = EPOLLIN};
      ended = wait_for({&wait, 1}, Instant::max(), {"a child process to end"});
    } else {
      ended = wait_until(fiber::time_in(pause_), "a child process to end");
      pause_ = std::min<Duration>(2 * pause_, kLongestPause);
    }
    if (ended == Ended::ready || ended == Ended::timeout) return true;
    errno = to_errno(ended, EINTR);
    return false;
  }

 private:
  const int fd_;
  Duration pause_ = kFirstPause;
};

// `attempt` asks without a wait; it gives 0 while there is nothing to tell.
template <class Attempt>
pid_t reap(pid_t pid, Attempt&& attempt) noexcept {
  pid_t reaped = attempt();
  if (reaped != 0) return reaped;
  ChildWait wait(pid);
  while ((reaped = attempt()) == 0) {
    if (!wait.wait()) return -1;
  }
  return reaped;
}

bool only_ends(int options) noexcept { return (options & (WUNTRACED | WCONTINUED)) == 0; }

pid_t wait_for_child(pid_t pid, int* status, int options, rusage* usage) noexcept {
  if ((options & WNOHANG) != 0 || cooperative() == nullptr) return real::wait4(pid, status, options, usage);
  return reap(pid > 0 && only_ends(options) ? pid : 0,
              [&] { return real::wait4(pid, status, options | WNOHANG, usage); });
}

// While a command of system() runs, the process ignores the keyboard's signals.
class KeyboardIgnored {
 public:
  KeyboardIgnored() noexcept {
    std::lock_guard guard(lock_);
    if (count_++ != 0) return;
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &ignore, &interrupt_);
    ::sigaction(SIGQUIT, &ignore, &quit_);
  }
  ~KeyboardIgnored() {
    std::lock_guard guard(lock_);
    if (--count_ != 0) return;
    ::sigaction(SIGINT, &interrupt_, nullptr);
    ::sigaction(SIGQUIT, &quit_, nullptr);
  }
  KeyboardIgnored(const KeyboardIgnored&) = delete;
  KeyboardIgnored& operator=(const KeyboardIgnored&) = delete;

  // Which of the two the command is to take as usual.
  static sigset_t defaults() noexcept {
    sigset_t set;
    ::sigemptyset(&set);
    if (interrupt_.sa_handler != SIG_IGN) ::sigaddset(&set, SIGINT);
    if (quit_.sa_handler != SIG_IGN) ::sigaddset(&set, SIGQUIT);
    return set;
  }

 private:
  static inline constinit SpinLock lock_;
  static inline int count_ = 0;
  static inline struct sigaction interrupt_, quit_;
};

int run_command(const char* command) noexcept {
  const KeyboardIgnored ignored;
  posix_spawnattr_t attributes;
  if (::posix_spawnattr_init(&attributes) != 0) return -1;
  const sigset_t defaults = KeyboardIgnored::defaults();
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const char* arguments[] = {"sh", "-c", command, nullptr};
  pid_t pid;
  const int failed = ::posix_spawn(&pid, "/bin/sh", nullptr, &attributes, const_cast<char* const*>(arguments), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    errno = failed;
    return -1;
  }
  int status = 0;
  pid_t reaped;
  do {
    reaped = wait_for_child(pid, &status, 0, nullptr);
  } while (reaped < 0 && errno == EINTR);
  if (reaped == pid) return status;
  if (errno == ECHILD) return -1;
  // The request's time is up, and nobody would wait for the command any more.
  const int error = errno;
  ::kill(pid, SIGKILL);
  real::wait4(pid, &status, 0, nullptr);
  errno = error;
  return -1;
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED pid_t waitpid(pid_t pid, int* status, int options) {
  return wait_for_child(pid, status, options, nullptr);
}

PENSTOCK_INTERPOSED pid_t wait(int* status) { return wait_for_child(-1, status, 0, nullptr); }

PENSTOCK_INTERPOSED pid_t wait3(int* status, int options, rusage* usage) noexcept {
  return wait_for_child(-1, status, options, usage);
}

PENSTOCK_INTERPOSED pid_t wait4(pid_t pid, int* status, int options, rusage* usage) noexcept {
  return wait_for_child(pid, status, options, usage);
}

PENSTOCK_INTERPOSED int waitid(idtype_t type, id_t id, siginfo_t* info, int options) {
  if ((options & WNOHANG) != 0 || cooperative() == nullptr) return real::waitid(type, id, info, options);
  siginfo_t local;
  siginfo_t* const told = info != nullptr ? info : &local;
  const bool one = type == P_PID && (options & (WSTOPPED | WCONTINUED)) == 0;
  const pid_t result = reap(one ? static_cast<pid_t>(id) : 0, [&]() -> pid_t {
    told->si_pid = 0;
    if (real::waitid(type, id, told, options | WNOHANG) != 0) return -1;
    return told->si_pid;
  });
  return result < 0 ? -1 : 0;
}

PENSTOCK_INTERPOSED int system(const char* command) {
  if (command == nullptr || cooperative() == nullptr) return real::system(command);
  return run_command(command);
}
