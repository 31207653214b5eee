#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <new>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program.h"

// The threads of C11, which the C library makes of those of pthread by calls inside itself. <threads.h> is not for C++.
extern "C" {
int thrd_create(pthread_t*, int (*)(void*), void*);
int thrd_join(pthread_t, int*);
}
PENSTOCK_REAL(thrd_create)

namespace penstock::interpose {
namespace {

enum Result : int { kSuccess = 0, kBusy = 1, kError = 2, kNoMemory = 3, kTimedOut = 4 };

int to_c11(int error) noexcept {
  switch (error) {
    case 0:
      return kSuccess;
    case EBUSY:
      return kBusy;
    case ENOMEM:
      return kNoMemory;
    case ETIMEDOUT:
      return kTimedOut;
    default:
      return kError;
  }
}

void* to_pointer(int result) noexcept { return reinterpret_cast<void*>(static_cast<std::intptr_t>(result)); }

struct Start {
  int (*const function)(void*);
  void* const argument;
};

void* run(void* given) {
  auto* start = static_cast<Start*>(given);
  const Start copy = *start;
  delete start;
  return to_pointer(copy.function(copy.argument));
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock::interpose;

PENSTOCK_INTERPOSED int thrd_create(pthread_t* created, int (*function)(void*), void* argument) {
  if (!makes_fibers_of_threads()) return real::thrd_create(created, function, argument);
  auto* start = new (std::nothrow) Start{function, argument};
  if (start == nullptr) return kNoMemory;
  const int error = ::pthread_create(created, nullptr, run, start);
  if (error != 0) delete start;
  return to_c11(error == EAGAIN ? ENOMEM : error);
}

PENSTOCK_INTERPOSED int thrd_join(pthread_t thread, int* result) {
  void* value = nullptr;
  const int error = ::pthread_join(thread, &value);
  if (error == 0 && result != nullptr) *result = static_cast<int>(reinterpret_cast<std::intptr_t>(value));
  return to_c11(error);
}

PENSTOCK_INTERPOSED int thrd_detach(pthread_t thread) { return to_c11(::pthread_detach(thread)); }
PENSTOCK_INTERPOSED pthread_t thrd_current() { return ::pthread_self(); }
PENSTOCK_INTERPOSED void thrd_yield() { ::sched_yield(); }
PENSTOCK_INTERPOSED __attribute__((noreturn)) void thrd_exit(int result) { ::pthread_exit(to_pointer(result)); }

// Those of C11 have the form of those of pthread.
PENSTOCK_INTERPOSED int mtx_lock(pthread_mutex_t* mutex) { return to_c11(::pthread_mutex_lock(mutex)); }
PENSTOCK_INTERPOSED int mtx_trylock(pthread_mutex_t* mutex) { return to_c11(::pthread_mutex_trylock(mutex)); }
PENSTOCK_INTERPOSED int mtx_timedlock(pthread_mutex_t* mutex, const timespec* at) {
  return to_c11(::pthread_mutex_timedlock(mutex, at));
}
PENSTOCK_INTERPOSED int mtx_unlock(pthread_mutex_t* mutex) { return to_c11(::pthread_mutex_unlock(mutex)); }

PENSTOCK_INTERPOSED int cnd_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  return to_c11(::pthread_cond_wait(condition, mutex));
}
PENSTOCK_INTERPOSED int cnd_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* at) {
  return to_c11(::pthread_cond_timedwait(condition, mutex, at));
}
PENSTOCK_INTERPOSED int cnd_signal(pthread_cond_t* condition) { return to_c11(::pthread_cond_signal(condition)); }
PENSTOCK_INTERPOSED int cnd_broadcast(pthread_cond_t* condition) { return to_c11(::pthread_cond_broadcast(condition)); }

PENSTOCK_INTERPOSED void call_once(pthread_once_t* control, void (*function)()) { ::pthread_once(control, function); }

PENSTOCK_INTERPOSED int tss_create(pthread_key_t* key, void (*destroy)(void*)) {
  return to_c11(::pthread_key_create(key, destroy));
}
PENSTOCK_INTERPOSED void tss_delete(pthread_key_t key) { ::pthread_key_delete(key); }
PENSTOCK_INTERPOSED void* tss_get(pthread_key_t key) { return ::pthread_getspecific(key); }
PENSTOCK_INTERPOSED int tss_set(pthread_key_t key, void* value) { return to_c11(::pthread_setspecific(key, value)); }
