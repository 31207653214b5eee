#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/interpose/cases.h"

// Waits with times of 0 and 100 us, with masks of signals, and for what other threads do.

static void tell(FILE* out, const char* what, long result) {
  fprintf(out, "%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerrorname_np(errno) : "");
}

static long microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct timespec from_now(clockid_t clock, long us) {
  struct timespec at;
  clock_gettime(clock, &at);
  at.tv_nsec += us * 1000;
  at.tv_sec += at.tv_nsec / 1000000000;
  at.tv_nsec %= 1000000000;
  return at;
}

struct Waiting {
  int fds[2];
  int set;
  sem_t semaphore;
  pthread_mutex_t mutex;
  pthread_cond_t condition;
  pthread_rwlock_t held;
};

static long by_select(struct Waiting* w, long us) {
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(w->fds[0], &readable);
  struct timeval time = {0, us};
  return select(w->fds[0] + 1, &readable, NULL, NULL, &time);
}
static long by_pselect(struct Waiting* w, long us) {
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(w->fds[0], &readable);
  const struct timespec time = {0, us * 1000};
  return pselect(w->fds[0] + 1, &readable, NULL, NULL, &time, NULL);
}
static long by_ppoll(struct Waiting* w, long us) {
  struct pollfd asked = {w->fds[0], POLLIN, 0};
  const struct timespec time = {0, us * 1000};
  return ppoll(&asked, 1, &time, NULL);
}
static long by_epoll(struct Waiting* w, long us) {
  struct epoll_event event;
  const struct timespec time = {0, us * 1000};
  return epoll_pwait2(w->set, &event, 1, &time, NULL);
}
static long by_nanosleep(struct Waiting* w, long us) {
  (void)w;
  const struct timespec time = {0, us * 1000};
  return clock_nanosleep(CLOCK_REALTIME, 0, &time, NULL);
}
static long by_socket(struct Waiting* w, long us) {
  const struct timeval time = {0, us};
  setsockopt(w->fds[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  char byte;
  return us != 0 ? recv(w->fds[0], &byte, 1, 0) : recv(w->fds[0], &byte, 1, MSG_DONTWAIT);
}
static long by_semaphore(struct Waiting* w, long us) {
  const struct timespec at = from_now(CLOCK_REALTIME, us);
  return sem_timedwait(&w->semaphore, &at);
}
static long by_condition(struct Waiting* w, long us) {
  const struct timespec at = from_now(CLOCK_MONOTONIC, us);
  pthread_mutex_lock(&w->mutex);
  const int error = pthread_cond_clockwait(&w->condition, &w->mutex, CLOCK_MONOTONIC, &at);
  pthread_mutex_unlock(&w->mutex);
  return error;
}
static long by_rwlock(struct Waiting* w, long us) {
  const struct timespec at = from_now(CLOCK_REALTIME, us);
  return pthread_rwlock_timedwrlock(&w->held, &at);
}
static long by_signal(struct Waiting* w, long us) {
  (void)w;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  const struct timespec time = {0, us * 1000};
  return sigtimedwait(&set, NULL, &time);
}

static void short_times(FILE* out) {
  static const struct {
    const char* name;
    long (*wait)(struct Waiting*, long us);
  } kWaits[] = {{"select", by_select},       {"pselect", by_pselect},     {"ppoll", by_ppoll},
                {"epoll", by_epoll},         {"nanosleep", by_nanosleep}, {"recv", by_socket},
                {"semaphore", by_semaphore}, {"condition", by_condition}, {"rwlock", by_rwlock},
                {"signal", by_signal}};
  struct Waiting w = {
      {0}, epoll_create1(0), {{0}}, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_RWLOCK_INITIALIZER};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, w.fds) != 0) abort();
  struct epoll_event event = {EPOLLIN, {0}};
  epoll_ctl(w.set, EPOLL_CTL_ADD, w.fds[0], &event);
  sem_init(&w.semaphore, 0, 0);
  pthread_rwlock_rdlock(&w.held);
  for (size_t i = 0; i < sizeof kWaits / sizeof kWaits[0]; ++i) {
    for (long us = 0; us <= 100; us += 100) {
      const long before = microseconds();
      tell(out, kWaits[i].name, kWaits[i].wait(&w, us));
      const long took = microseconds() - before;
      fprintf(out, "not before %d, not for ever %d\n", took >= us, took < 1000000);
    }
  }
  pthread_rwlock_unlock(&w.held);
  close(w.set);
  close(w.fds[0]);
  close(w.fds[1]);
}

static int handled;
static void handle(int number) { handled += number == SIGUSR1; }

static void masks_of_calls(FILE* out) {
  const struct sigaction counts = {.sa_handler = handle};
  struct sigaction before;
  sigaction(SIGUSR1, &counts, &before);
  sigset_t blocked, old, none;
  sigemptyset(&none);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, &old);
  handled = 0;
  const struct timespec long_time = {5, 0};
  struct epoll_event event;
  const int set = epoll_create1(0);
  pthread_kill(pthread_self(), SIGUSR1);
  tell(out, "ppoll", ppoll(NULL, 0, &long_time, &none));
  pthread_kill(pthread_self(), SIGUSR1);
  tell(out, "pselect", pselect(0, NULL, NULL, NULL, &long_time, &none));
  pthread_kill(pthread_self(), SIGUSR1);
  tell(out, "epoll_pwait", epoll_pwait(set, &event, 1, 5000, &none));
  pthread_kill(pthread_self(), SIGUSR1);
  tell(out, "sigsuspend", sigsuspend(&none));
  fprintf(out, "handled %d\n", handled);
  pthread_kill(pthread_self(), SIGUSR1);
  siginfo_t info;
  fprintf(out, "waited for %d\n", sigwaitinfo(&blocked, &info) == SIGUSR1);
  fprintf(out, "handled %d\n", handled);
  close(set);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  sigaction(SIGUSR1, &before, NULL);
}

static sem_t may_end;

static void* sleeps_and_says(void* said) {
  sem_wait(&may_end);
  usleep(5000);
  return said;
}

static void joins(FILE* out) {
  pthread_t thread;
  void* result = NULL;
  sem_init(&may_end, 0, 0);
  pthread_create(&thread, NULL, sleeps_and_says, "done");
  fprintf(out, "try %s\n", strerrorname_np(pthread_tryjoin_np(thread, &result)));
  struct timespec at = from_now(CLOCK_REALTIME, 100);
  fprintf(out, "timed %s\n", strerrorname_np(pthread_timedjoin_np(thread, &result, &at)));
  sem_post(&may_end);
  const int joined = pthread_join(thread, &result);
  fprintf(out, "join %d %s\n", joined, (const char*)result);
  sem_destroy(&may_end);
}

static once_flag once = ONCE_FLAG_INIT;
static int made;
static tss_t key;
static int destroyed;
static void destroy(void* value) { destroyed += *(int*)value; }
static void make(void) {
  usleep(1000);
  ++made;
}

struct Queue {
  mtx_t mutex;
  cnd_t changed;
  int items;
};

static int put(void* argument) {
  struct Queue* queue = argument;
  static int value = 7;
  call_once(&once, make);
  tss_set(key, &value);
  for (int i = 0; i < 10; ++i) {
    usleep(200);
    mtx_lock(&queue->mutex);
    ++queue->items;
    cnd_signal(&queue->changed);
    mtx_unlock(&queue->mutex);
  }
  const struct timespec soon = {0, 100000};
  thrd_sleep(&soon, NULL);
  if (tss_get(key) != &value) return 1;
  thrd_exit(42);
}

static void c11_threads(FILE* out) {
  struct Queue queue = {.items = 0};
  destroyed = 0;
  fprintf(out, "%d %d %d\n", mtx_init(&queue.mutex, mtx_timed) == thrd_success,
          cnd_init(&queue.changed) == thrd_success, tss_create(&key, destroy) == thrd_success);
  thrd_t threads[3];
  for (int i = 0; i < 3; ++i) thrd_create(&threads[i], put, &queue);
  call_once(&once, make);
  mtx_lock(&queue.mutex);
  while (queue.items < 30) cnd_wait(&queue.changed, &queue.mutex);
  struct timespec at = from_now(CLOCK_REALTIME, 100);
  fprintf(out, "time %d\n", cnd_timedwait(&queue.changed, &queue.mutex, &at) == thrd_timedout);
  fprintf(out, "busy %d\n", mtx_trylock(&queue.mutex) == thrd_busy);
  fprintf(out, "timed %d\n", mtx_timedlock(&queue.mutex, &at) == thrd_timedout);
  mtx_unlock(&queue.mutex);
  for (int i = 0; i < 3; ++i) {
    int result = 0;
    fprintf(out, "joined %d ", thrd_join(threads[i], &result) == thrd_success);
    fprintf(out, "%d\n", result);
  }
  fprintf(out, "made %d destroyed %d items %d\n", made, destroyed, queue.items);
  fprintf(out, "mine %d %d\n", tss_get(key) == NULL, thrd_equal(thrd_current(), thrd_current()) != 0);
  tss_delete(key);
  cnd_destroy(&queue.changed);
  mtx_destroy(&queue.mutex);
}

const struct Case kThreadCases[] = {{"ShortTimes", short_times},
                                    {"MasksOfCalls", masks_of_calls},
                                    {"Joins", joins},
                                    {"C11Threads", c11_threads},
                                    {NULL, NULL}};
