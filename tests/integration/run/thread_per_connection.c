/* A server as they have been written for decades: a thread for each connection, calls that block. Answers each line
   with a second's delay. Prints its port first. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int served;

static void* serve(void* argument) {
  int fd = (int)(intptr_t)argument;
  char line[256];
  ssize_t n;
  while ((n = read(fd, line, sizeof line)) > 0) {
    sleep(1);
    pthread_mutex_lock(&mutex);
    ++served;
    pthread_mutex_unlock(&mutex);
    if (write(fd, line, (size_t)n) != n) break;
  }
  close(fd);
  return NULL;
}

static void stop(int number) {
  (void)number;
  printf("served %d\n", served);
  fflush(stdout);
  exit(0);
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 4096) != 0 ||
      getsockname(listener, (struct sockaddr*)&address, &size) != 0) {
    perror("listen");
    return 1;
  }
  signal(SIGTERM, stop);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    pthread_t thread;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    if (pthread_create(&thread, NULL, serve, (void*)(intptr_t)fd) != 0) {
      close(fd);
      continue;
    }
    pthread_detach(thread);
  }
}
