// The first thread ends before the others, in the way that is asked for: "cancelled", "exits".
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_t first;

static void* other(void* cancels) {
  void* result = NULL;
  if (cancels != NULL) pthread_cancel(first);
  pthread_join(first, &result);
  printf("the first one %s\n", result == PTHREAD_CANCELED ? "was cancelled" : "has ended");
  usleep(50000);
  puts("the last one ends");
  return NULL;
}

static void at_the_end(void* text) { puts(text); }

int main(int count, char** arguments) {
  if (count != 2) return 2;
  const int cancelled = strcmp(arguments[1], "cancelled") == 0;
  first = pthread_self();
  pthread_t made;
  pthread_create(&made, NULL, other, cancelled ? &first : NULL);
  pthread_detach(made);
  pthread_cleanup_push(at_the_end, "cleaned up");
  while (cancelled) pause();
  pthread_exit(NULL);
  pthread_cleanup_pop(0);
}
