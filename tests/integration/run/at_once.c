// at_once COUNT: so many threads that end only when all of them run at the same time, without a call in between.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_int running;
static int count;

static void* run(void* unused) {
  (void)unused;
  atomic_fetch_add(&running, 1);
  while (atomic_load(&running) < count) {
  }
  return NULL;
}

int main(int argc, char** argv) {
  count = argc > 1 ? atoi(argv[1]) : 1;
  pthread_t* threads = calloc((size_t)count, sizeof *threads);
  for (int i = 0; i < count; ++i) {
    if (pthread_create(&threads[i], NULL, run, NULL) != 0) return 1;
  }
  for (int i = 0; i < count; ++i) pthread_join(threads[i], NULL);
  free(threads);
  printf("%d at once\n", count);
  return 0;
}
