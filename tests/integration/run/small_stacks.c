#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Threads with the smallest stacks that there are, and a library with thread_local data for each thread of the kernel.
int count_of_thread(void);

static void* use_stack(void* result) {
  char bytes[4096];
  int fds[2];
  memset(bytes, 42, sizeof bytes);
  if (pipe(fds) != 0 || write(fds[1], bytes, sizeof bytes) != sizeof bytes) return NULL;
  if (read(fds[0], bytes, sizeof bytes) != sizeof bytes) return NULL;
  close(fds[0]);
  close(fds[1]);
  usleep(100);
  *(int*)result = bytes[sizeof bytes - 1] * count_of_thread();
  return NULL;
}

int main(void) {
  int result = 0;
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
  const int error = pthread_create(&thread, &attributes, use_stack, &result);
  if (error != 0) {
    printf("no thread: %s\n", strerror(error));
    return 1;
  }
  pthread_join(thread, NULL);
  printf("%d\n", result);
  return 0;
}
