#pragma once

#include <pthread.h>

#include "penstock/error.h"

namespace penstock::interpose {

// The functions of pthread mutexes, for fibers and plain threads alike: 0 or an error number.
//
// A mutex of one process is a word that is free, taken, or taken and waited for, as the C library has it, and waits are
// parkings at its address. One that knows its owner (recursive, error-checking) has ours where the C library has its
// own. Mutexes that other processes share, robust ones and those with priorities stay the C library's: they are tried.
int lock_mutex(pthread_mutex_t* mutex, Instant until) noexcept;
int try_lock_mutex(pthread_mutex_t* mutex) noexcept;
int unlock_mutex(pthread_mutex_t* mutex) noexcept;

}  // namespace penstock::interpose
