#include <pthread.h>
#include <sched.h>

#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/plain_libraries.h"

PENSTOCK_REAL(pthread_spin_trylock)
PENSTOCK_REAL(pthread_spin_lock)
PENSTOCK_REAL(sched_yield)

using namespace penstock;
using namespace penstock::interpose;

// Its owner may be another fiber of the same thread.
PENSTOCK_INTERPOSED int pthread_spin_lock(pthread_spinlock_t* lock) noexcept {
  if (may_wait() == nullptr) return real::pthread_spin_lock(lock);
  for (Backoff backoff; real::pthread_spin_trylock(lock) != 0;) backoff.wait(Instant::max());
  return 0;
}

PENSTOCK_INTERPOSED int sched_yield() noexcept {
  fiber::Scheduler* scheduler = may_wait();
  if (scheduler == nullptr || is_in_plain_library(__builtin_return_address(0))) return real::sched_yield();
  scheduler->yield();
  return 0;
}
