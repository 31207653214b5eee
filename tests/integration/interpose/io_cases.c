#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/interpose/cases.h"

// Each call that receives, sends, connects and so on at least once with somebody slow on the other side. Compiled with
// fortified headers, by which calls whose room is known are others (__read_chk and its kin).

enum { kMuch = 1500000 };

static void tell(FILE* out, const char* what, long result) {
  fprintf(out, "%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerrorname_np(errno) : "");
}

static void pair_of(int type, int fds[2]) {
  if (socketpair(AF_UNIX, type, 0, fds) != 0) abort();
}

static pthread_t start(void* (*function)(void*), void* argument) {
  pthread_t made;
  if (pthread_create(&made, NULL, function, argument) != 0) abort();
  return made;
}

static void* write_bytes_slowly(void* argument) {
  for (const char* at = "abcdefgh"; *at != 0; ++at) {
    usleep(1000);
    if (write(*(int*)argument, at, 1) != 1) break;
  }
  return NULL;
}

static void* drain(void* argument) {
  char part[20000];
  long sum = 0;
  for (ssize_t n; (n = read(*(int*)argument, part, sizeof part)) > 0; sum += n) usleep(100);
  return (void*)sum;
}

static void fortified(FILE* out) {
  int fds[2];
  pair_of(SOCK_STREAM, fds);
  pthread_t writer = start(write_bytes_slowly, &fds[1]);
  // Not known to the compiler.
  volatile size_t some = 2;
  char text[20] = {0};
  struct sockaddr_storage from;
  socklen_t size = sizeof from;
  tell(out, "read", read(fds[0], text, some));
  tell(out, "recv", recv(fds[0], text + 1, some, MSG_WAITALL));
  tell(out, "recvfrom", recvfrom(fds[0], text + 3, some, MSG_WAITALL, (struct sockaddr*)&from, &size));
  volatile nfds_t one = 1;
  struct pollfd asked[2] = {{fds[0], POLLIN, 0}};
  tell(out, "poll", poll(asked, one, 1000));
  const struct timespec second = {1, 0};
  tell(out, "ppoll", ppoll(asked, one, &second, NULL));
  pthread_join(writer, NULL);
  fprintf(out, "%s\n", text);
  close(fds[0]);
  close(fds[1]);
}

static void vectors(FILE* out) {
  int fds[2];
  pair_of(SOCK_STREAM, fds);
  pthread_t other = start(write_bytes_slowly, &fds[1]);
  char a[3] = {0}, b[20] = {0};
  struct iovec parts[2] = {{a, 2}, {b, 19}};
  const ssize_t n = readv(fds[0], parts, 2);
  fprintf(out, "readv %d %c\n", n >= 1, a[0]);
  pthread_join(other, NULL);
  fprintf(out, "the rest %d\n", readv(fds[0], parts, 2) + n == 8);
  other = start(drain, &fds[1]);
  char* much = calloc(1, kMuch);
  struct iovec large[3] = {{much, kMuch}, {much, 0}, {much, kMuch}};
  tell(out, "writev", writev(fds[0], large, 3));
  struct msghdr message = {.msg_iov = large, .msg_iovlen = 3};
  tell(out, "sendmsg", sendmsg(fds[0], &message, 0));
  volatile int too_few = -1;
  tell(out, "too few", writev(fds[0], large, too_few));
  close(fds[0]);
  void* sum;
  pthread_join(other, &sum);
  fprintf(out, "arrived %ld\n", (long)sum);
  free(much);
  close(fds[1]);
}

static void* send_messages(void* argument) {
  char one[] = "one", two[] = "second";
  struct iovec parts[2] = {{one, 3}, {two, 6}};
  struct mmsghdr both[2] = {{{.msg_iov = parts, .msg_iovlen = 1}, 0}, {{.msg_iov = parts + 1, .msg_iovlen = 1}, 0}};
  usleep(2000);
  sendmmsg(*(int*)argument, both, 2, 0);
  usleep(2000);
  // With a descriptor.
  const int passed = eventfd(5, 0);
  char room[CMSG_SPACE(sizeof passed)] = {0};
  struct msghdr with = {.msg_iov = parts, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  struct cmsghdr* header = CMSG_FIRSTHDR(&with);
  *header = (struct cmsghdr){CMSG_LEN(sizeof passed), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(header), &passed, sizeof passed);
  sendmsg(*(int*)argument, &with, 0);
  close(passed);
  return NULL;
}

static void messages(FILE* out) {
  int fds[2];
  pair_of(SOCK_DGRAM, fds);
  pthread_t sender = start(send_messages, &fds[1]);
  char a[10] = {0}, b[4] = {0};
  struct iovec parts[2] = {{a, 9}, {b, 3}};
  struct mmsghdr both[2] = {{{.msg_iov = parts, .msg_iovlen = 1}, 0}, {{.msg_iov = parts + 1, .msg_iovlen = 1}, 0}};
  tell(out, "recvmmsg", recvmmsg(fds[0], both, 2, 0, NULL));
  fprintf(out, "%s %u %s %u truncated %d\n", a, both[0].msg_len, b, both[1].msg_len,
          (both[1].msg_hdr.msg_flags & MSG_TRUNC) != 0);
  int passed = -1;
  char room[CMSG_SPACE(sizeof passed)];
  struct msghdr with = {.msg_iov = parts, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  tell(out, "recvmsg", recvmsg(fds[0], &with, 0));
  memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&with)), sizeof passed);
  eventfd_t value = 0;
  tell(out, "passed", eventfd_read(passed, &value));
  fprintf(out, "%lu\n", (unsigned long)value);
  pthread_join(sender, NULL);
  tell(out, "none", recvmmsg(fds[0], both, 2, MSG_DONTWAIT, NULL));
  close(passed);
  close(fds[0]);
  close(fds[1]);
}

static void* answer_datagram(void* argument) {
  char text[20];
  struct sockaddr_in from;
  socklen_t size = sizeof from;
  const ssize_t n = recvfrom(*(int*)argument, text, sizeof text, 0, (struct sockaddr*)&from, &size);
  usleep(2000);
  sendto(*(int*)argument, text, (size_t)n, 0, (struct sockaddr*)&from, size);
  return NULL;
}

static int bound(int type, struct sockaddr_in* address) {
  const int fd = socket(AF_INET, type, 0);
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof *address;
  if (bind(fd, (struct sockaddr*)address, size) != 0) abort();
  getsockname(fd, (struct sockaddr*)address, &size);
  return fd;
}

static void datagrams(FILE* out) {
  struct sockaddr_in server, client, from;
  int fds[2] = {bound(SOCK_DGRAM, &server), bound(SOCK_DGRAM, &client)};
  pthread_t other = start(answer_datagram, &fds[0]);
  tell(out, "sendto", sendto(fds[1], "hello", 5, 0, (struct sockaddr*)&server, sizeof server));
  char text[20] = {0};
  socklen_t size = sizeof from;
  tell(out, "recvfrom", recvfrom(fds[1], text, 3, MSG_TRUNC, (struct sockaddr*)&from, &size));
  fprintf(out, "%s from the server %d\n", text, from.sin_port == server.sin_port);
  pthread_join(other, NULL);
  close(fds[0]);
  close(fds[1]);
}

static void files_are_sent(FILE* out) {
  int fds[2], pipes[2];
  pair_of(SOCK_STREAM, fds);
  const int file = memfd_create("much", 0);
  if (ftruncate(file, kMuch) != 0 || pipe(pipes) != 0) abort();
  pthread_t reader = start(drain, &fds[1]);
  off_t offset = 100;
  tell(out, "sendfile", sendfile(fds[0], file, &offset, kMuch));
  fprintf(out, "offset %ld\n", (long)offset);
  pthread_t writer = start(write_bytes_slowly, &pipes[1]);
  long moved = 0;
  while (moved < 8) moved += splice(pipes[0], NULL, fds[0], NULL, 8, 0);
  tell(out, "splice", moved);
  pthread_join(writer, NULL);
  tell(out, "nothing", splice(pipes[0], NULL, fds[0], NULL, 8, SPLICE_F_NONBLOCK));
  close(fds[0]);
  void* sum;
  pthread_join(reader, &sum);
  fprintf(out, "arrived %ld\n", (long)sum);
  close(fds[1]);
  close(file);
  close(pipes[0]);
  close(pipes[1]);
}

struct Peer {
  int fd;
  struct sockaddr_in address;
};

static void* connect_later(void* argument) {
  const struct Peer* peer = argument;
  usleep(2000);
  return (void*)(long)connect(peer->fd, (const struct sockaddr*)&peer->address, sizeof peer->address);
}

static void* shut_later(void* argument) {
  usleep(2000);
  return (void*)(long)shutdown(*(int*)argument, SHUT_RDWR);
}

static void connections(FILE* out) {
  struct Peer peer = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
  const int listener = bound(SOCK_STREAM, &peer.address);
  tell(out, "nobody listens", connect(peer.fd, (struct sockaddr*)&peer.address, sizeof peer.address));
  listen(listener, 10);
  pthread_t other = start(connect_later, &peer);
  struct sockaddr_in from;
  socklen_t size = sizeof from;
  int fd = accept(listener, (struct sockaddr*)&from, &size);
  fprintf(out, "accepted %d from %x flags %d\n", fd >= 0, ntohl(from.sin_addr.s_addr), fcntl(fd, F_GETFL) & O_NONBLOCK);
  void* result;
  pthread_join(other, &result);
  tell(out, "connected", (long)result);
  tell(out, "again", connect(peer.fd, (struct sockaddr*)&peer.address, sizeof peer.address));
  close(fd);
  close(peer.fd);

  peer.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int first = connect(peer.fd, (struct sockaddr*)&peer.address, sizeof peer.address);
  fprintf(out, "not waited for %d\n", first == 0 || errno == EINPROGRESS);
  struct pollfd ready = {peer.fd, POLLOUT, 0};
  tell(out, "ready", poll(&ready, 1, 5000));
  int error = -1;
  size = sizeof error;
  getsockopt(peer.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  fprintf(out, "error %d flags %d %d\n", error, (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, fcntl(fd, F_GETFD));
  fcntl(listener, F_SETFL, O_NONBLOCK);
  tell(out, "none left", accept(listener, NULL, NULL));
  fcntl(listener, F_SETFL, 0);
  tell(out, "wrong flags", accept4(listener, NULL, NULL, 12345));
  close(fd);

  // Shut down by somebody else while they wait.
  int waiting = listener;
  other = start(shut_later, &waiting);
  tell(out, "accept", accept(listener, NULL, NULL));
  pthread_join(other, NULL);
  close(listener);
  close(peer.fd);
  int fds[2];
  pair_of(SOCK_STREAM, fds);
  other = start(shut_later, &fds[0]);
  char byte;
  tell(out, "recv", recv(fds[0], &byte, 1, 0));
  pthread_join(other, NULL);
  close(fds[0]);
  close(fds[1]);
}

static void descriptors(FILE* out) {
  int fds[2];
  pair_of(SOCK_STREAM, fds);
  const int copy = fcntl(fds[0], F_DUPFD_CLOEXEC, 100);
  fprintf(out, "dup %d flags %d\n", copy >= 100, fcntl(copy, F_GETFD));
  const int other = dup(fds[1]);
  fprintf(out, "dup2 %d same %d\n", dup2(copy, other) == other, dup2(other, other) == other);
  tell(out, "dup3", dup3(other, other, 0));
  tell(out, "peer of the copy", write(fds[1], "abc", 3));
  int bytes = 0;
  tell(out, "FIONREAD", ioctl(other, FIONREAD, &bytes));
  char text[10];
  fprintf(out, "%d read %ld\n", bytes, (long)read(other, text, sizeof text));
  fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
  tell(out, "all do not wait", read(fds[0], text, 1));
  fprintf(out, "closed %d\n", close_range((unsigned)copy, (unsigned)copy, 0));
  tell(out, "is closed", fcntl(copy, F_GETFL));
  const int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
  int value = 1;
  socklen_t size = sizeof value;
  tell(out, "option", setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &value, size));
  value = 0;
  tell(out, "option", getsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &value, &size));
  fprintf(out, "%d\n", value);
  close(socket_fd);
  close(other);
  close(fds[0]);
  tell(out, "end", read(fds[1], text, 1));
  close(fds[1]);
}

static void* add_later(void* argument) {
  usleep(2000);
  return (void*)(long)eventfd_write(*(int*)argument, 3);
}

static void counters(FILE* out) {
  int event = eventfd(0, 0);
  pthread_t other = start(add_later, &event);
  eventfd_t value = 0;
  tell(out, "eventfd", eventfd_read(event, &value));
  fprintf(out, "%lu\n", (unsigned long)value);
  pthread_join(other, NULL);
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const struct itimerspec soon = {{0, 0}, {0, 1000000}};
  timerfd_settime(timer, 0, &soon, NULL);
  uint64_t times = 0;
  tell(out, "timerfd", read(timer, &times, sizeof times));
  fprintf(out, "%lu\n", (unsigned long)times);
  close(timer);
  close(event);
}

static void file_locks(FILE* out) {
  const int file = memfd_create("locked", 0);
  int told[2];
  if (pipe(told) != 0) abort();
  fflush(out);
  const pid_t child = fork();
  if (child == 0) {
    if (lockf(file, F_LOCK, 0) != 0 || write(told[1], "x", 1) != 1) _exit(1);
    usleep(10000);
    _exit(0);
  }
  char byte;
  if (read(told[0], &byte, 1) != 1) abort();
  tell(out, "locked by another", lockf(file, F_TEST, 0));
  tell(out, "try", lockf(file, F_TLOCK, 0));
  tell(out, "lock", lockf(file, F_LOCK, 0));
  tell(out, "mine", lockf(file, F_TEST, 0));
  tell(out, "unlock", lockf(file, F_ULOCK, 0));
  int status;
  struct rusage usage;
  fprintf(out, "wait4 %d", wait4(child, &status, 0, &usage) == child);
  fprintf(out, " %d\n", WEXITSTATUS(status));
  siginfo_t info = {0};
  tell(out, "waitid", waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
  close(file);
  close(told[0]);
  close(told[1]);
}

static void names_of_addresses(FILE* out) {
  const struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  char host[100], service[100];
  const struct sockaddr* any = (const struct sockaddr*)&address;
  fprintf(
      out, "%d ",
      getnameinfo(any, sizeof address, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV));
  fprintf(out, "%s %s\n", host, service);
  fprintf(out, "%d ", getnameinfo(any, sizeof address, host, sizeof host, NULL, 0, 0));
  fprintf(out, "%s\n", host);
  fprintf(out, "small %d\n", getnameinfo(any, sizeof address, host, 2, NULL, 0, NI_NUMERICHOST));
  const struct hostent* by_address = gethostbyaddr(&address.sin_addr, sizeof address.sin_addr, AF_INET);
  fprintf(out, "%s\n", by_address != NULL ? by_address->h_name : "none");
  struct hostent entry, *result = NULL;
  char room[1000];
  int error = 0;
  fprintf(out, "%d ", gethostbyname_r("localhost", &entry, room, sizeof room, &result, &error));
  fprintf(out, "%s\n", result != NULL ? result->h_name : "none");
}

const struct Case kIoCases[] = {{"Fortified", fortified},
                                {"Vectors", vectors},
                                {"Messages", messages},
                                {"Datagrams", datagrams},
                                {"FilesAreSent", files_are_sent},
                                {"Connections", connections},
                                {"Descriptors", descriptors},
                                {"Counters", counters},
                                {"FileLocks", file_locks},
                                {"NamesOfAddresses", names_of_addresses},
                                {NULL, NULL}};
