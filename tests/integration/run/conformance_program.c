#include <pthread.h>
#include <signal.h>

#include "tests/integration/interpose/cases.h"

// The conformance suite as an ordinary program: each case in a thread, whose other side is one, too.

static void* run(void* argument) {
  const struct Case* one = argument;
  printf("%s\n", one->name);
  one->run(stdout);
  fflush(stdout);
  return NULL;
}

int main(void) {
  const struct Case* const lists[] = {kCases, kMoreCases, kIoCases, kThreadCases, kIpcCases};
  signal(SIGPIPE, SIG_IGN);
  for (int i = 0; i < 5; ++i) {
    for (const struct Case* one = lists[i]; one->name != NULL; ++one) {
      pthread_t thread;
      pthread_create(&thread, NULL, run, (void*)one);
      pthread_join(thread, NULL);
    }
  }
  return 0;
}
