// Makes a thread, and loads a library that makes one; computes with it where that is asked for.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void* sleeps(void* argument) {
  usleep(1000);
  return argument;
}

static void (*compute)(void);
static void* computes(void* argument) {
  compute();
  return argument;
}

int main(int count, char** arguments) {
  if (count != 2 && count != 3) return 2;
  void* library = dlopen(arguments[1], RTLD_NOW);
  if (library == NULL) {
    printf("%s\n", dlerror());
    return 1;
  }
  pthread_t thread;
  pthread_create(&thread, NULL, sleeps, NULL);
  int (*result)(void) = NULL;
  *(void**)&result = dlsym(library, "result_of_thread");
  puts("loaded");
  if (count == 3) {
    printf("%d\n", result());
    *(void**)&compute = dlsym(library, "compute_in_turn");
    pthread_t first, second;
    pthread_create(&first, NULL, computes, NULL);
    pthread_create(&second, NULL, computes, NULL);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    puts("in turn");
  }
  pthread_join(thread, NULL);
  return 0;
}
