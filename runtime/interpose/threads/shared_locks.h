#pragma once

#include <pthread.h>

#include "penstock/error.h"

namespace penstock::interpose {

// Mutexes that stay the C library's: shared between processes, robust, or with priorities. On a scheduler thread they
// are tried, and a fiber that finds one taken sleeps a little. The fibers of a thread are one owner to the C library:
// who of them has a mutex is remembered here.
int lock_shared(pthread_mutex_t* mutex, Instant until) noexcept;
int try_lock_shared(pthread_mutex_t* mutex) noexcept;
int unlock_shared(pthread_mutex_t* mutex) noexcept;

}  // namespace penstock::interpose
