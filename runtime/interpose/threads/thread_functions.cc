#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/clock.h"
#include "runtime/interpose/threads/program.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signals.h"

PENSTOCK_REAL(pthread_create)
PENSTOCK_REAL(pthread_join)
PENSTOCK_REAL(pthread_tryjoin_np)
PENSTOCK_REAL(pthread_clockjoin_np)
PENSTOCK_REAL(pthread_detach)
PENSTOCK_REAL(pthread_self)
PENSTOCK_REAL(pthread_setname_np)
PENSTOCK_REAL(pthread_getname_np)
PENSTOCK_REAL(pthread_getattr_np)
PENSTOCK_REAL(pthread_getcpuclockid)
PENSTOCK_REAL(pthread_kill)
PENSTOCK_REAL(pthread_sigqueue)
PENSTOCK_REAL(raise)
PENSTOCK_REAL(pthread_setaffinity_np)
PENSTOCK_REAL(pthread_getaffinity_np)
PENSTOCK_REAL(pthread_setschedparam)
PENSTOCK_REAL(pthread_getschedparam)
PENSTOCK_REAL(pthread_setschedprio)

// The functions of pthread that make threads, and those that take one.
namespace penstock::interpose {
namespace {

constinit Real<void(void*)> real_exit{"pthread_exit"};
PENSTOCK_FOUND_EARLY(real_exit)

// A thread of the C library, joined by a fiber: nobody tells of its end.
int join_plain(pthread_t handle, void** result, Instant until) {
  for (Backoff backoff;;) {
    test_cancel();
    const int error = real::pthread_tryjoin_np(handle, result);
    if (error != EBUSY) return error;
    if (!backoff.wait(until)) return ETIMEDOUT;
  }
}

int join_until(pthread_t handle, void** result, clockid_t clock, const timespec* at) {
  ProgramThread* thread = ProgramThread::of(handle);
  if (thread == nullptr && cooperative() == nullptr) return real::pthread_clockjoin_np(handle, result, clock, at);
  Instant until = Instant::max();
  if (at != nullptr) {
    const auto given = instant_of(clock, *at);
    if (!given) return EINVAL;
    until = *given;
  }
  return thread != nullptr ? thread->join(result, until) : join_plain(handle, result, until);
}

// What of a thread belongs to the processor and the kernel is its scheduler thread's.
pthread_t kernel_thread_of(pthread_t handle) noexcept {
  const ProgramThread* thread = ProgramThread::of(handle);
  return thread != nullptr ? scheduler_thread_of(thread->home()) : handle;
}

siginfo_t sent_by_us(int signal, int code) noexcept {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = code;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  return info;
}

bool has_ended(pthread_t handle) noexcept {
  const ProgramThread* thread = ProgramThread::of(handle);
  return thread != nullptr && thread->ended();
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int pthread_create(pthread_t* created, const pthread_attr_t* attributes, void* (*start)(void*),
                                       void* argument) noexcept {
  const auto home = home_of_new_thread(__builtin_return_address(0));
  return home ? ProgramThread::create(home, attributes, start, argument, created)
              : real::pthread_create(created, attributes, start, argument);
}

PENSTOCK_INTERPOSED int pthread_join(pthread_t handle, void** result) {
  ProgramThread* thread = ProgramThread::of(handle);
  if (thread != nullptr) return thread->join(result, Instant::max());
  return cooperative() == nullptr ? real::pthread_join(handle, result) : join_plain(handle, result, Instant::max());
}

PENSTOCK_INTERPOSED int pthread_tryjoin_np(pthread_t handle, void** result) noexcept {
  ProgramThread* thread = ProgramThread::of(handle);
  return thread != nullptr ? thread->try_join(result) : real::pthread_tryjoin_np(handle, result);
}

PENSTOCK_INTERPOSED int pthread_timedjoin_np(pthread_t handle, void** result, const timespec* at) {
  return join_until(handle, result, CLOCK_REALTIME, at);
}

PENSTOCK_INTERPOSED int pthread_clockjoin_np(pthread_t handle, void** result, clockid_t clock, const timespec* at) {
  return join_until(handle, result, clock, at);
}

PENSTOCK_INTERPOSED int pthread_detach(pthread_t handle) noexcept {
  ProgramThread* thread = ProgramThread::of(handle);
  return thread != nullptr ? thread->detach() : real::pthread_detach(handle);
}

PENSTOCK_INTERPOSED __attribute__((noreturn)) void pthread_exit(void* result) {
  ProgramThread* thread = ProgramThread::current();
  if (thread != nullptr) thread->exit(result);
  real_exit(result);
  std::abort();
}

PENSTOCK_INTERPOSED pthread_t pthread_self() noexcept {
  const ProgramThread* thread = ProgramThread::current();
  return thread != nullptr ? thread->handle() : real::pthread_self();
}

PENSTOCK_INTERPOSED int pthread_setname_np(pthread_t handle, const char* name) noexcept {
  ProgramThread* thread = ProgramThread::of(handle);
  return thread != nullptr && thread->keeps_values() ? thread->set_name(name) : real::pthread_setname_np(handle, name);
}

PENSTOCK_INTERPOSED int pthread_getname_np(pthread_t handle, char* buffer, size_t size) noexcept {
  const ProgramThread* thread = ProgramThread::of(handle);
  if (thread == nullptr || !thread->keeps_values()) return real::pthread_getname_np(handle, buffer, size);
  char name[16];
  if (size < sizeof name) return ERANGE;
  thread->name(name);
  std::memcpy(buffer, name, sizeof name);
  return 0;
}

PENSTOCK_INTERPOSED int pthread_getattr_np(pthread_t handle, pthread_attr_t* attributes) noexcept {
  const ProgramThread* thread = ProgramThread::of(handle);
  return thread != nullptr && thread->keeps_values() ? thread->attributes(attributes)
                                                     : real::pthread_getattr_np(handle, attributes);
}

PENSTOCK_INTERPOSED int pthread_getcpuclockid(pthread_t handle, clockid_t* clock) noexcept {
  return has_ended(handle) ? ESRCH : real::pthread_getcpuclockid(kernel_thread_of(handle), clock);
}

PENSTOCK_INTERPOSED int pthread_kill(pthread_t handle, int signal) noexcept {
  if (has_ended(handle)) return signal < 0 || signal >= NSIG ? EINVAL : 0;
  if (ProgramThread* thread = ProgramThread::of(handle); thread != nullptr && can_be_sent(signal)) {
    return thread->send_signal(signal, sent_by_us(signal, SI_TKILL));
  }
  return real::pthread_kill(kernel_thread_of(handle), signal);
}

PENSTOCK_INTERPOSED int raise(int signal) noexcept {
  ProgramThread* thread = may_wait() != nullptr ? ProgramThread::current() : nullptr;
  return thread != nullptr && can_be_sent(signal) ? thread->send_signal(signal, sent_by_us(signal, SI_TKILL))
                                                  : real::raise(signal);
}

PENSTOCK_INTERPOSED int pthread_sigqueue(pthread_t handle, int signal, const union sigval value) noexcept {
  if (has_ended(handle)) return signal < 0 || signal >= NSIG ? EINVAL : 0;
  if (ProgramThread* thread = ProgramThread::of(handle); thread != nullptr && can_be_sent(signal)) {
    siginfo_t info = sent_by_us(signal, SI_QUEUE);
    info.si_value = value;
    return thread->send_signal(signal, info);
  }
  return real::pthread_sigqueue(kernel_thread_of(handle), signal, value);
}

PENSTOCK_INTERPOSED int pthread_setaffinity_np(pthread_t handle, size_t size, const cpu_set_t* set) noexcept {
  return has_ended(handle) ? ESRCH : real::pthread_setaffinity_np(kernel_thread_of(handle), size, set);
}

PENSTOCK_INTERPOSED int pthread_getaffinity_np(pthread_t handle, size_t size, cpu_set_t* set) noexcept {
  return has_ended(handle) ? ESRCH : real::pthread_getaffinity_np(kernel_thread_of(handle), size, set);
}

PENSTOCK_INTERPOSED int pthread_setschedparam(pthread_t handle, int policy, const sched_param* parameters) noexcept {
  return has_ended(handle) ? ESRCH : real::pthread_setschedparam(kernel_thread_of(handle), policy, parameters);
}

PENSTOCK_INTERPOSED int pthread_getschedparam(pthread_t handle, int* policy, sched_param* parameters) noexcept {
  return has_ended(handle) ? ESRCH : real::pthread_getschedparam(kernel_thread_of(handle), policy, parameters);
}

PENSTOCK_INTERPOSED int pthread_setschedprio(pthread_t handle, int priority) noexcept {
  return has_ended(handle) ? ESRCH : real::pthread_setschedprio(kernel_thread_of(handle), priority);
}
