#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/interpose/interposed.h"

// Other names that the C library has for the same functions: what was compiled for one before 2.34, and libraries that
// mean to pass by whoever stands before the usual ones. Sanitizers have their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

PENSTOCK_INTERPOSED ssize_t __read(int fd, void* to, size_t size) { return ::read(fd, to, size); }
PENSTOCK_INTERPOSED ssize_t __write(int fd, const void* from, size_t size) { return ::write(fd, from, size); }
PENSTOCK_INTERPOSED int __close(int fd) { return ::close(fd); }
PENSTOCK_INTERPOSED int __dup2(int from, int to) { return ::dup2(from, to); }
PENSTOCK_INTERPOSED int __fcntl(int fd, int command, void* argument) { return ::fcntl(fd, command, argument); }
PENSTOCK_INTERPOSED int __connect(int fd, const sockaddr* to, socklen_t size) { return ::connect(fd, to, size); }
PENSTOCK_INTERPOSED ssize_t __send(int fd, const void* from, size_t size, int flags) {
  return ::send(fd, from, size, flags);
}
PENSTOCK_INTERPOSED int __poll(pollfd* asked, nfds_t count, int timeout) { return ::poll(asked, count, timeout); }
PENSTOCK_INTERPOSED int __select(int count, fd_set* readable, fd_set* writable, fd_set* other, timeval* timeout) {
  return ::select(count, readable, writable, other, timeout);
}
PENSTOCK_INTERPOSED int __nanosleep(const timespec* request, timespec* left) { return ::nanosleep(request, left); }
PENSTOCK_INTERPOSED int __sched_yield() noexcept { return ::sched_yield(); }
PENSTOCK_INTERPOSED pid_t __wait(int* status) { return ::wait(status); }
PENSTOCK_INTERPOSED pid_t __waitpid(pid_t child, int* status, int options) { return ::waitpid(child, status, options); }
PENSTOCK_INTERPOSED pid_t __vfork() noexcept { return ::vfork(); }
PENSTOCK_INTERPOSED int __sigaction(int number, const struct sigaction* wanted, struct sigaction* old) noexcept {
  return ::sigaction(number, wanted, old);
}
PENSTOCK_INTERPOSED int __sigsuspend(const sigset_t* set) { return ::sigsuspend(set); }

PENSTOCK_INTERPOSED int __pthread_mutex_lock(pthread_mutex_t* mutex) noexcept { return ::pthread_mutex_lock(mutex); }
PENSTOCK_INTERPOSED int __pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  return ::pthread_mutex_trylock(mutex);
}
PENSTOCK_INTERPOSED int __pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  return ::pthread_mutex_unlock(mutex);
}
PENSTOCK_INTERPOSED int __pthread_mutex_destroy(pthread_mutex_t* mutex) noexcept {
  return ::pthread_mutex_destroy(mutex);
}
PENSTOCK_INTERPOSED int __pthread_rwlock_rdlock(pthread_rwlock_t* lock) noexcept {
  return ::pthread_rwlock_rdlock(lock);
}
PENSTOCK_INTERPOSED int __pthread_rwlock_wrlock(pthread_rwlock_t* lock) noexcept {
  return ::pthread_rwlock_wrlock(lock);
}
PENSTOCK_INTERPOSED int __pthread_rwlock_tryrdlock(pthread_rwlock_t* lock) noexcept {
  return ::pthread_rwlock_tryrdlock(lock);
}
PENSTOCK_INTERPOSED int __pthread_rwlock_trywrlock(pthread_rwlock_t* lock) noexcept {
  return ::pthread_rwlock_trywrlock(lock);
}
PENSTOCK_INTERPOSED int __pthread_rwlock_unlock(pthread_rwlock_t* lock) noexcept {
  return ::pthread_rwlock_unlock(lock);
}
PENSTOCK_INTERPOSED int __pthread_rwlock_destroy(pthread_rwlock_t* lock) noexcept {
  return ::pthread_rwlock_destroy(lock);
}
PENSTOCK_INTERPOSED int __pthread_once(pthread_once_t* once, void (*init)()) { return ::pthread_once(once, init); }
PENSTOCK_INTERPOSED int __pthread_key_create(pthread_key_t* key, void (*destroy)(void*)) noexcept {
  return ::pthread_key_create(key, destroy);
}
PENSTOCK_INTERPOSED void* __pthread_getspecific(pthread_key_t key) noexcept { return ::pthread_getspecific(key); }
PENSTOCK_INTERPOSED int __pthread_setspecific(pthread_key_t key, const void* value) noexcept {
  return ::pthread_setspecific(key, value);
}

#endif
