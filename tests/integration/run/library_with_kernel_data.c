#include <pthread.h>

static __thread int count;
int count_of_thread(void);
int count_of_thread(void) { return ++count; }

static void* count_here(void* result) {
  *(int*)result = count_of_thread();
  return NULL;
}

// In a thread that the library makes, as those that compute in parallel do.
int count_of_own_thread(void);
int count_of_own_thread(void) {
  pthread_t thread;
  int result = 0;
  if (pthread_create(&thread, NULL, count_here, &result) != 0) return -1;
  pthread_join(thread, NULL);
  return result;
}
