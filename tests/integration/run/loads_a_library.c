// Loads a library "before" or "after" it has made a thread, and has it count in the first thread and in its own.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void* sleeps(void* argument) {
  usleep(1000);
  return argument;
}

static int (*function(void* library, const char* name))(void) {
  int (*found)(void) = NULL;
  *(void**)&found = dlsym(library, name);
  return found;
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const int before = strcmp(arguments[1], "before") == 0;
  void* library = before ? dlopen(arguments[2], RTLD_NOW) : NULL;
  pthread_t thread;
  pthread_create(&thread, NULL, sleeps, NULL);
  if (!before) library = dlopen(arguments[2], RTLD_NOW);
  if (library == NULL) {
    printf("%s\n", dlerror());
    return 1;
  }
  int (*here)(void) = function(library, "count_of_thread");
  int (*in_own)(void) = function(library, "count_of_own_thread");
  for (int i = 0; i < 2; ++i) {
    const int counted = here();
    printf("%d, in its own thread %d\n", counted, in_own());
  }
  pthread_join(thread, NULL);
  return 0;
}
