#include <pthread.h>

#include <cerrno>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/parking.h"

PENSTOCK_REAL(pthread_barrier_init)
PENSTOCK_REAL(pthread_barrier_destroy)
PENSTOCK_REAL(pthread_barrier_wait)

namespace penstock::interpose {
namespace {

// Laid over the C library's words, in its order: who has come, the round, how many are to come, whether other processes
// share it.
struct Barrier {
  unsigned come;
  unsigned round;
  unsigned expected;
  int shared;
};
static_assert(sizeof(Barrier) <= sizeof(pthread_barrier_t));

Barrier& of(pthread_barrier_t* barrier) noexcept { return *reinterpret_cast<Barrier*>(barrier); }

int wait(Barrier& barrier) noexcept {
  Parking parking(&barrier, "others at a barrier");
  {
    ParkingLock lock(&barrier);
    if (++barrier.come == barrier.expected) {
      barrier.come = 0;
      ++barrier.round;
      lock.wake_up_to(SIZE_MAX);
      return PTHREAD_BARRIER_SERIAL_THREAD;
    }
    parking.join(lock);
  }
  parking.wait(Instant::max());
  return 0;
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock::interpose;

PENSTOCK_INTERPOSED int pthread_barrier_init(pthread_barrier_t* barrier, const pthread_barrierattr_t* attributes,
                                             unsigned count) noexcept {
  if (count == 0 || count > 1U << 30) return EINVAL;
  int shared = PTHREAD_PROCESS_PRIVATE;
  if (attributes != nullptr) ::pthread_barrierattr_getpshared(attributes, &shared);
  if (shared == PTHREAD_PROCESS_SHARED) return real::pthread_barrier_init(barrier, attributes, count);
  of(barrier) = {0, 0, count, 0};
  return 0;
}

PENSTOCK_INTERPOSED int pthread_barrier_destroy(pthread_barrier_t* barrier) noexcept {
  if (of(barrier).shared != 0) return real::pthread_barrier_destroy(barrier);
  const ParkingLock lock(barrier);
  return of(barrier).come == 0 ? 0 : EBUSY;
}

PENSTOCK_INTERPOSED int pthread_barrier_wait(pthread_barrier_t* barrier) noexcept {
  return of(barrier).shared != 0 ? real::pthread_barrier_wait(barrier) : wait(of(barrier));
}
