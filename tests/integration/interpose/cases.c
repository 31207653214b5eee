#define _GNU_SOURCE
#include "tests/integration/interpose/cases.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

// Reading, writing and descriptors. The other side is always a plain thread.

struct Side {
  int fd;
  const char* text;
  useconds_t pause;
};

static void* write_slowly(void* argument) {
  struct Side* side = argument;
  for (const char* at = side->text; *at != 0; ++at) {
    usleep(side->pause);
    if (write(side->fd, at, 1) != 1) break;
  }
  return NULL;
}

static void* drain(void* argument) {
  const int fd = *(int*)argument;
  char part[10000];
  long sum = 0;
  for (ssize_t n; (n = read(fd, part, sizeof part)) > 0; sum += n) usleep(200);
  return (void*)sum;
}

static void pair_of(int fds[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) abort();
}

static void tell(FILE* out, const char* what, long result) {
  fprintf(out, "%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerrorname_np(errno) : "");
}

static void large_write_is_whole(FILE* out) {
  int fds[2];
  pair_of(fds);
  pthread_t reader;
  pthread_create(&reader, NULL, drain, &fds[1]);
  char* much = calloc(1, 2000000);
  tell(out, "write", write(fds[0], much, 2000000));
  close(fds[0]);
  void* sum;
  pthread_join(reader, &sum);
  fprintf(out, "read %ld\n", (long)sum);
  close(fds[1]);
  free(much);
}

static void nonblocking_write_is_partial(FILE* out) {
  int fds[2];
  pair_of(fds);
  fcntl(fds[0], F_SETFL, O_RDWR | O_NONBLOCK);
  char* much = calloc(1, 2000000);
  const ssize_t n = write(fds[0], much, 2000000);
  fprintf(out, "some %d\n", n > 0 && n < 2000000);
  while (write(fds[0], much, 100) > 0) continue;
  tell(out, "then", -1);
  free(much);
  close(fds[0]);
  close(fds[1]);
}

static void flags_are_seen(FILE* out) {
  int fds[2];
  pair_of(fds);
  char byte;
  fprintf(out, "at first %d\n", fcntl(fds[0], F_GETFL) & O_NONBLOCK);
  const int copy = dup(fds[0]);
  int on = 1;
  tell(out, "ioctl", ioctl(copy, FIONBIO, &on));
  fprintf(out, "shared %d\n", (fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0);
  tell(out, "read", read(fds[0], &byte, 1));
  on = 0;
  ioctl(fds[0], FIONBIO, &on);
  fprintf(out, "taken back %d\n", fcntl(copy, F_GETFL) & O_NONBLOCK);
  close(copy);
  close(fds[0]);
  close(fds[1]);
}

static void reused_numbers(FILE* out) {
  int fds[2], others[2];
  pair_of(fds);
  const int number = fds[0];
  char byte = 0;
  struct Side side = {fds[1], "a", 2000};
  pthread_t writer;
  pthread_create(&writer, NULL, write_slowly, &side);
  tell(out, "first", read(number, &byte, 1));
  pthread_join(writer, NULL);
  close(number);
  if (pipe(others) != 0) abort();
  dup2(others[0], number);
  side.fd = others[1];
  side.text = "b";
  pthread_create(&writer, NULL, write_slowly, &side);
  tell(out, "second", read(number, &byte, 1));
  fprintf(out, "%c\n", byte);
  pthread_join(writer, NULL);
  close(number);
  close(fds[1]);
  if (others[0] != number) close(others[0]);
  close(others[1]);
}

static void socket_timeouts(FILE* out) {
  int fds[2];
  pair_of(fds);
  const struct timeval bound = {0, 5000};
  setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
  setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
  char byte;
  tell(out, "recv", recv(fds[0], &byte, 1, 0));
  char* much = calloc(1, 4000000);
  const ssize_t n = send(fds[0], much, 4000000, 0);
  fprintf(out, "some %d\n", n > 0 && n < 4000000);
  tell(out, "send", send(fds[0], "x", 1, 0));
  free(much);
  close(fds[0]);
  close(fds[1]);
}

static void half_close(FILE* out) {
  int fds[2];
  pair_of(fds);
  tell(out, "shutdown", shutdown(fds[0], SHUT_WR));
  char byte = 0;
  tell(out, "peer reads", read(fds[1], &byte, 1));
  tell(out, "peer writes", write(fds[1], "x", 1));
  tell(out, "reads", read(fds[0], &byte, 1));
  tell(out, "writes", send(fds[0], "x", 1, MSG_NOSIGNAL));
  close(fds[1]);
  tell(out, "end", read(fds[0], &byte, 1));
  close(fds[0]);
}

static void flags_of_recv(FILE* out) {
  int fds[2];
  pair_of(fds);
  char text[10] = {0};
  tell(out, "dontwait", recv(fds[0], text, 5, MSG_DONTWAIT));
  struct Side side = {fds[1], "abcdefgh", 1000};
  pthread_t writer;
  pthread_create(&writer, NULL, write_slowly, &side);
  tell(out, "peek", recv(fds[0], text, 1, MSG_PEEK));
  tell(out, "waitall", recv(fds[0], text, 5, MSG_WAITALL));
  fprintf(out, "%s\n", text);
  pthread_join(writer, NULL);
  close(fds[1]);
  tell(out, "waitall at the end", recv(fds[0], text, 9, MSG_WAITALL));
  tell(out, "end", recv(fds[0], text, 9, MSG_WAITALL));
  tell(out, "none", read(fds[0], text, 0));
  close(fds[0]);
}

static int connected_pair(int fds[2]) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr*)&address, size) != 0 || listen(listener, 4) != 0) abort();
  getsockname(listener, (struct sockaddr*)&address, &size);
  fds[0] = socket(AF_INET, SOCK_STREAM, 0);
  const int result = connect(fds[0], (struct sockaddr*)&address, size);
  fds[1] = accept(listener, NULL, NULL);
  close(listener);
  return result;
}

static void out_of_band(FILE* out) {
  int fds[2];
  tell(out, "connect", connected_pair(fds));
  send(fds[0], "ab", 2, 0);
  send(fds[0], "!", 1, MSG_OOB);
  send(fds[0], "cd", 2, 0);
  char text[10] = {0};
  usleep(5000);
  tell(out, "before", read(fds[1], text, 9));
  fprintf(out, "%s at mark %d\n", text, sockatmark(fds[1]));
  char urgent = 0;
  tell(out, "urgent", recv(fds[1], &urgent, 1, MSG_OOB));
  fprintf(out, "%c\n", urgent);
  memset(text, 0, sizeof text);
  tell(out, "after", read(fds[1], text, 9));
  fprintf(out, "%s\n", text);
  close(fds[0]);
  close(fds[1]);
}

static void errors(FILE* out) {
  char byte;
  tell(out, "no descriptor", read(-1, &byte, 1));
  tell(out, "close", close(-1));
  int fds[2];
  if (pipe(fds) != 0) abort();
  tell(out, "wrong end", read(fds[1], &byte, 1));
  tell(out, "no socket", recv(fds[0], &byte, 1, 0));
  tell(out, "accept", accept(fds[0], NULL, NULL));
  tell(out, "seek", lseek(fds[0], 0, SEEK_CUR));
  close(fds[0]);
  tell(out, "broken", write(fds[1], "x", 1));
  close(fds[1]);
  tell(out, "closed", write(fds[1], "x", 1));
  const int unconnected = socket(AF_INET, SOCK_STREAM, 0);
  tell(out, "unconnected", recv(unconnected, &byte, 1, 0));
  const struct sockaddr_in nobody = {
      .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  tell(out, "connect", connect(unconnected, (const struct sockaddr*)&nobody, sizeof nobody));
  close(unconnected);
}

static void errno_is_kept(FILE* out) {
  int fds[2];
  pair_of(fds);
  struct Side side = {fds[1], "x", 3000};
  pthread_t writer;
  pthread_create(&writer, NULL, write_slowly, &side);
  char byte;
  errno = EXDEV;
  tell(out, "read", read(fds[0], &byte, 1));
  fprintf(out, "errno is as before: %d\n", errno == EXDEV);
  pthread_join(writer, NULL);
  close(fds[0]);
  close(fds[1]);
}

static void forked_child(FILE* out) {
  int fds[2];
  pair_of(fds);
  fflush(out);
  const pid_t child = fork();
  if (child == 0) {
    char byte = 0;
    if (read(fds[1], &byte, 1) != 1) _exit(1);
    usleep(1000);
    if (write(fds[1], "y", 1) != 1) _exit(2);
    _exit(byte);
  }
  usleep(2000);
  tell(out, "write", write(fds[0], "*", 1));
  char byte = 0;
  tell(out, "read", read(fds[0], &byte, 1));
  int status = 0;
  fprintf(out, "%c waited %d status %d\n", byte, waitpid(child, &status, 0) == child, WEXITSTATUS(status));
  tell(out, "no more", waitpid(child, &status, 0));
  close(fds[0]);
  close(fds[1]);
}

const struct Case kCases[] = {{"LargeWriteIsWhole", large_write_is_whole},
                              {"NonblockingWriteIsPartial", nonblocking_write_is_partial},
                              {"FlagsAreSeen", flags_are_seen},
                              {"ReusedNumbers", reused_numbers},
                              {"SocketTimeouts", socket_timeouts},
                              {"HalfClose", half_close},
                              {"FlagsOfRecv", flags_of_recv},
                              {"OutOfBand", out_of_band},
                              {"Errors", errors},
                              {"ErrnoIsKept", errno_is_kept},
                              {"ForkedChild", forked_child},
                              {NULL, NULL}};
