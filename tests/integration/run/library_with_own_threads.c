// Makes a thread while it is loaded, and has it compute with whoever calls, as libraries of linear algebra do.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int running;
static int wanted;
static atomic_int computed;

static void* compute(void* argument) {
  pthread_mutex_lock(&lock);
  running = 1;
  pthread_cond_broadcast(&changed);
  while (!wanted) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  atomic_store(&computed, 42);
  return argument;
}

__attribute__((constructor)) static void begin(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, compute, NULL) != 0) return;
  pthread_detach(thread);
  pthread_mutex_lock(&lock);
  while (!running) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

// Looks for the result again and again.
int result_of_thread(void);
int result_of_thread(void) {
  pthread_mutex_lock(&lock);
  wanted = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  while (atomic_load(&computed) == 0) {
  }
  return atomic_load(&computed);
}

// For two threads: the second one looks for the end of the first one's part again and again.
void compute_in_turn(void);
void compute_in_turn(void) {
  static atomic_int parts;
  int none = 0;
  if (atomic_compare_exchange_strong(&parts, &none, 1)) {
    for (int i = 0; i < 100; ++i) sched_yield();
    atomic_store(&parts, 2);
  }
  while (atomic_load(&parts) != 2) {
  }
}
