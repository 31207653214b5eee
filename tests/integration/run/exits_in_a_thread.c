// One thread after another is made; the one that is asked for ends the process, by exit().
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int next_of_this_thread(void);

static int last;

static void at_the_end(void) { puts("at the end"); }

static void* thread(void* argument) {
  const int mine = *(int*)argument;
  next_of_this_thread();
  usleep(1000);
  printf("%d: %d\n", mine, next_of_this_thread());
  if (mine == last) exit(mine);
  return NULL;
}

int main(int count, char** arguments) {
  if (count != 2) return 2;
  last = atoi(arguments[1]);
  atexit(at_the_end);
  printf("first: %d\n", next_of_this_thread());
  for (int i = 1; i <= last; ++i) {
    pthread_t made;
    pthread_create(&made, NULL, thread, &i);
    pthread_join(made, NULL);
  }
  return 0;
}
