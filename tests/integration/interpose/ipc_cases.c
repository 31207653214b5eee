#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/interpose/cases.h"

// Message queues and semaphores that processes share, and other names of the same calls.

static void tell(FILE* out, const char* what, long result) {
  fprintf(out, "%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerrorname_np(errno) : "");
}

static struct timespec in_milliseconds(long milliseconds) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  at.tv_nsec += milliseconds * 1000000;
  at.tv_sec += at.tv_nsec / 1000000000;
  at.tv_nsec %= 1000000000;
  return at;
}

// What another thread does later.
struct Later {
  void (*act)(int fd);
  int fd;
};

static void* act_later(void* argument) {
  const struct Later* later = argument;
  usleep(3000);
  later->act(later->fd);
  return NULL;
}

static pthread_t begin(const struct Later* later) {
  pthread_t thread;
  pthread_create(&thread, NULL, act_later, (void*)later);
  return thread;
}

static void send_hello(int fd) { mq_send(fd, "hello", 6, 3); }
static void receive_one(int fd) {
  char text[16];
  mq_receive(fd, text, sizeof text, NULL);
}

static void message_queues(FILE* out) {
  const struct mq_attr small = {.mq_maxmsg = 1, .mq_msgsize = 16};
  char name[64];
  snprintf(name, sizeof name, "/penstock-test-%d", getpid());
  const mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &small);
  tell(out, "unlinked", mq_unlink(name));
  char text[16] = "";
  unsigned priority = 0;
  struct Later later = {send_hello, queue};
  pthread_t thread = begin(&later);
  tell(out, "received", mq_receive(queue, text, sizeof text, &priority));
  fprintf(out, "%s %u\n", text, priority);
  pthread_join(thread, NULL);
  struct timespec at = in_milliseconds(2);
  tell(out, "none", mq_timedreceive(queue, text, sizeof text, NULL, &at));
  at.tv_nsec = -1;
  tell(out, "no time", mq_timedreceive(queue, text, sizeof text, NULL, &at));
  tell(out, "short", mq_receive(queue, text, 1, NULL));
  tell(out, "first", mq_send(queue, "1", 2, 0));
  later.act = receive_one;
  thread = begin(&later);
  tell(out, "second", mq_send(queue, "2", 2, 0));
  pthread_join(thread, NULL);
  at = in_milliseconds(2);
  tell(out, "full", mq_timedsend(queue, "3", 2, 0, &at));
  const struct mq_attr nonblocking = {.mq_flags = O_NONBLOCK};
  tell(out, "set", mq_setattr(queue, &nonblocking, NULL));
  tell(out, "at once", mq_send(queue, "3", 2, 0));
  tell(out, "closed", mq_close(queue));
}

static void post(int set) {
  struct sembuf add = {0, 1, 0};
  semop(set, &add, 1);
}
static void remove_set(int set) { semctl(set, 0, IPC_RMID); }

struct Message {
  long type;
  char text[8];
};
static void send_five(int queue) {
  const struct Message five = {5, "five"};
  msgsnd(queue, &five, sizeof five.text, 0);
}
static void take_any(int queue) {
  struct Message any;
  msgrcv(queue, &any, sizeof any.text, 0, 0);
}

static void system_v(FILE* out) {
  const int set = semget(IPC_PRIVATE, 1, 0600);
  struct sembuf take = {0, -1, 0};
  struct sembuf take_now = {0, -1, IPC_NOWAIT};
  tell(out, "at once", semop(set, &take_now, 1));
  struct Later later = {post, set};
  pthread_t thread = begin(&later);
  tell(out, "taken", semop(set, &take, 1));
  pthread_join(thread, NULL);
  const struct timespec time = {0, 2000000};
  tell(out, "in time", semtimedop(set, &take, 1, &time));
  later.act = remove_set;
  thread = begin(&later);
  tell(out, "removed", semop(set, &take, 1));
  pthread_join(thread, NULL);

  const int queue = msgget(IPC_PRIVATE, 0600);
  struct Message message;
  tell(out, "no message", msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT));
  later = (struct Later){send_five, queue};
  thread = begin(&later);
  tell(out, "received", msgrcv(queue, &message, sizeof message.text, 5, 0));
  fprintf(out, "%s\n", message.text);
  pthread_join(thread, NULL);
  struct msqid_ds limits;
  msgctl(queue, IPC_STAT, &limits);
  limits.msg_qbytes = sizeof message.text;
  msgctl(queue, IPC_SET, &limits);
  tell(out, "first", msgsnd(queue, &message, sizeof message.text, 0));
  tell(out, "full", msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT));
  later.act = take_any;
  thread = begin(&later);
  tell(out, "second", msgsnd(queue, &message, sizeof message.text, 0));
  pthread_join(thread, NULL);
  msgctl(queue, IPC_RMID, NULL);
}

static void write_abc(int fd) {
  if (write(fd, "abc", 3) != 3) perror("write");
}

static void other_names(FILE* out) {
  int fds[2];
  if (pipe(fds) != 0) return;
  char text[16] = "";
  struct iovec part = {text, sizeof text};
  struct Later later = {write_abc, fds[1]};
  pthread_t thread = begin(&later);
  tell(out, "preadv2", preadv2(fds[0], &part, 1, -1, 0));
  pthread_join(thread, NULL);
  part.iov_len = 3;
  tell(out, "pwritev2", pwritev2(fds[1], &part, 1, -1, 0));
  tell(out, "at a place", preadv2(fds[0], &part, 1, 0, 0));
  tell(out, "read", read(fds[0], text, sizeof text));

  ssize_t (*read_by_other_name)(int, void*, size_t) = (ssize_t(*)(int, void*, size_t))dlsym(RTLD_DEFAULT, "__read");
  thread = begin(&later);
  tell(out, "__read", read_by_other_name(fds[0], text, sizeof text));
  pthread_join(thread, NULL);
  int (*poll_by_other_name)(struct pollfd*, nfds_t, int) =
      (int (*)(struct pollfd*, nfds_t, int))dlsym(RTLD_DEFAULT, "__poll");
  struct pollfd asked = {fds[0], POLLIN, 0};
  thread = begin(&later);
  tell(out, "__poll", poll_by_other_name(&asked, 1, 10000));
  pthread_join(thread, NULL);
  close(fds[0]);
  close(fds[1]);
}

const struct Case kIpcCases[] = {
    {"MessageQueues", message_queues}, {"SystemV", system_v}, {"OtherNames", other_names}, {NULL, NULL}};
