#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/interpose/cases.h"

// Waiting, names, processes, streams, and locks between a fiber and a plain thread.

static void tell(FILE* out, const char* what, long result) {
  fprintf(out, "%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerrorname_np(errno) : "");
}

static void pair_of(int fds[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) abort();
}

static void* write_later(void* argument) {
  usleep(3000);
  return (void*)write(*(int*)argument, "x", 1);
}

static void poll_tells(FILE* out) {
  int fds[2];
  pair_of(fds);
  struct pollfd asked[3] = {{fds[0], POLLIN | POLLOUT, 0}, {-1, POLLIN, 0}, {1000000, POLLIN, 0}};
  tell(out, "writable", poll(asked, 1, -1));
  fprintf(out, "%x\n", asked[0].revents);
  tell(out, "none", poll(asked, 0, 1));
  tell(out, "unknown", poll(asked, 3, 1000));
  fprintf(out, "%x %x\n", asked[1].revents, asked[2].revents);
  asked[0].events = POLLIN;
  tell(out, "time", poll(asked, 1, 2));
  pthread_t writer;
  pthread_create(&writer, NULL, write_later, &fds[1]);
  tell(out, "readable", poll(asked, 1, 10000));
  fprintf(out, "%x\n", asked[0].revents);
  pthread_join(writer, NULL);
  close(fds[1]);
  asked[0].events = POLLIN | POLLRDHUP;
  tell(out, "hung up", poll(asked, 1, -1));
  fprintf(out, "%x\n", asked[0].revents);
  close(fds[0]);
}

static void select_tells(FILE* out) {
  int fds[2];
  pair_of(fds);
  fd_set readable, writable;
  FD_ZERO(&readable);
  FD_ZERO(&writable);
  FD_SET(fds[0], &readable);
  FD_SET(fds[0], &writable);
  tell(out, "writable", select(fds[0] + 1, &readable, &writable, NULL, NULL));
  fprintf(out, "%d %d\n", FD_ISSET(fds[0], &readable) != 0, FD_ISSET(fds[0], &writable) != 0);
  FD_SET(fds[0], &readable);
  struct timeval bound = {0, 2000};
  tell(out, "time", select(fds[0] + 1, &readable, NULL, NULL, &bound));
  fprintf(out, "%d left %ld.%06ld\n", FD_ISSET(fds[0], &readable) != 0, (long)bound.tv_sec, (long)bound.tv_usec);
  pthread_t writer;
  pthread_create(&writer, NULL, write_later, &fds[1]);
  FD_SET(fds[0], &readable);
  tell(out, "readable", select(fds[0] + 1, &readable, NULL, NULL, NULL));
  pthread_join(writer, NULL);
  bound.tv_sec = -1;
  tell(out, "wrong", select(0, NULL, NULL, NULL, &bound));
  tell(out, "wrong number", select(-1, NULL, NULL, NULL, NULL));
  const int number = fds[0];
  close(fds[0]);
  FD_ZERO(&readable);
  FD_SET(number, &readable);
  tell(out, "closed", select(number + 1, &readable, NULL, NULL, NULL));
  close(fds[1]);
}

static void epoll_mode(FILE* out, unsigned mode) {
  int fds[2];
  pair_of(fds);
  const int set = epoll_create1(0);
  struct epoll_event event = {EPOLLIN | mode, {.u32 = 5}};
  tell(out, "add", epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event));
  struct epoll_event got[2] = {{0}};
  tell(out, "time", epoll_wait(set, got, 2, 2));
  pthread_t writer;
  pthread_create(&writer, NULL, write_later, &fds[1]);
  tell(out, "first", epoll_wait(set, got, 2, -1));
  fprintf(out, "%x %u\n", got[0].events, got[0].data.u32);
  pthread_join(writer, NULL);
  tell(out, "again", epoll_wait(set, got, 2, 5));
  pthread_create(&writer, NULL, write_later, &fds[1]);
  tell(out, "more", epoll_wait(set, got, 2, 50));
  pthread_join(writer, NULL);
  tell(out, "wrong", epoll_wait(set, got, 0, 10));
  close(set);
  close(fds[0]);
  close(fds[1]);
}

static void epoll_level(FILE* out) { epoll_mode(out, 0); }
static void epoll_edge(FILE* out) { epoll_mode(out, EPOLLET); }
static void epoll_one_shot(FILE* out) { epoll_mode(out, EPOLLONESHOT); }

static long microseconds_of(int (*sleeps)(void)) {
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  if (sleeps() != 0) return -1;
  clock_gettime(CLOCK_MONOTONIC, &after);
  return (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
}

static int no_time(void) { return usleep(0); }
static int hundred_microseconds(void) { return usleep(100); }
static int poll_no_time(void) { return poll(NULL, 0, 0); }
static int one_millisecond(void) {
  const struct timespec t = {0, 1000000};
  return nanosleep(&t, NULL);
}

static void sleeps(FILE* out) {
  fprintf(out, "none %d %d\n", microseconds_of(no_time) >= 0, microseconds_of(poll_no_time) >= 0);
  fprintf(out, "100 us %d\n", microseconds_of(hundred_microseconds) >= 100);
  fprintf(out, "1 ms %d\n", microseconds_of(one_millisecond) >= 1000);
  const struct timespec wrong = {0, 2000000000};
  tell(out, "wrong", nanosleep(&wrong, NULL));
  const struct timespec past = {1, 0};
  fprintf(out, "past %d wrong %d\n", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &past, NULL),
          clock_nanosleep(CLOCK_MONOTONIC, 0, &wrong, NULL));
}

static void names(FILE* out) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  struct addrinfo* results = NULL;
  fprintf(out, "localhost %d\n", getaddrinfo("localhost", "80", &hints, &results));
  for (struct addrinfo* each = results; each != NULL; each = each->ai_next) {
    const struct sockaddr_in* address = (const struct sockaddr_in*)each->ai_addr;
    fprintf(out, "%x %d %d\n", ntohl(address->sin_addr.s_addr), ntohs(address->sin_port), each->ai_socktype);
  }
  freeaddrinfo(results);
  fprintf(out, "no service %d\n", getaddrinfo("localhost", "no such service", &hints, &results));
  hints.ai_flags = AI_NUMERICHOST;
  fprintf(out, "no number %d\n", getaddrinfo("localhost", NULL, &hints, &results));
  fprintf(out, "nothing %d\n", getaddrinfo(NULL, NULL, NULL, &results));
  const struct hostent* host = gethostbyname("127.0.0.1");
  fprintf(out, "%s %d\n", host->h_name, host->h_length);
}

static void processes(FILE* out) {
  const int status = system("exit 3");
  fprintf(out, "system %d %d\n", WIFEXITED(status), WEXITSTATUS(status));
  const int killed = system("kill -9 $$");
  fprintf(out, "killed %d\n", WIFSIGNALED(killed) ? WTERMSIG(killed) : -1);
  fprintf(out, "shell %d\n", system(NULL) != 0);
  FILE* command = popen("echo one; sleep 0.01; echo two; exit 4", "r");
  char line[20];
  while (fgets(line, sizeof line, command) != NULL) fputs(line, out);
  fprintf(out, "popen %d\n", WEXITSTATUS(pclose(command)));
  command = popen("cat >/dev/null; exit 5", "w");
  fprintf(command, "text\n");
  fprintf(out, "written to %d\n", WEXITSTATUS(pclose(command)));
  tell(out, "wait", wait(NULL));
}

static void* answer_lines(void* argument) {
  FILE* stream = fdopen(*(int*)argument, "r+");
  char line[50];
  while (fgets(line, sizeof line, stream) != NULL) {
    usleep(1000);
    fprintf(stream, "said %s", line);
    fflush(stream);
  }
  fclose(stream);
  return NULL;
}

static void streams(FILE* out) {
  int fds[2];
  pair_of(fds);
  pthread_t peer;
  pthread_create(&peer, NULL, answer_lines, &fds[1]);
  FILE* stream = fdopen(fds[0], "r+");
  fprintf(out, "number %d\n", fileno(stream) == fds[0]);
  for (int i = 0; i < 3; ++i) {
    fprintf(stream, "line %d\n", i);
    fflush(stream);
    int said = -1;
    char line[50];
    if (fgets(line, sizeof line, stream) == NULL) break;
    fprintf(out, "scanned %d", sscanf(line, "said line %d", &said));
    fprintf(out, " %d\n", said);
  }
  shutdown(fileno(stream), SHUT_WR);
  fprintf(out, "end %d", fgetc(stream));
  fprintf(out, " %d", fgetc(stream));
  fprintf(out, " %d\n", feof(stream) != 0);
  tell(out, "close", fclose(stream));
  pthread_join(peer, NULL);
}

struct Shared {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  sem_t semaphore;
  int turn;
};

static void* take_turns(void* argument) {
  struct Shared* shared = argument;
  for (int i = 0; i < 20; ++i) {
    pthread_mutex_lock(&shared->mutex);
    while (shared->turn % 2 == 0) pthread_cond_wait(&shared->changed, &shared->mutex);
    ++shared->turn;
    if (i % 4 == 0) usleep(500);
    pthread_cond_signal(&shared->changed);
    pthread_mutex_unlock(&shared->mutex);
  }
  sem_post(&shared->semaphore);
  return NULL;
}

static void locks(FILE* out) {
  struct Shared shared = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {{0}}, 0};
  sem_init(&shared.semaphore, 0, 0);
  pthread_t other;
  pthread_create(&other, NULL, take_turns, &shared);
  for (int i = 0; i < 20; ++i) {
    pthread_mutex_lock(&shared.mutex);
    while (shared.turn % 2 == 1) pthread_cond_wait(&shared.changed, &shared.mutex);
    ++shared.turn;
    if (i % 5 == 0) usleep(500);
    pthread_cond_signal(&shared.changed);
    pthread_mutex_unlock(&shared.mutex);
  }
  tell(out, "semaphore", sem_wait(&shared.semaphore));
  pthread_join(other, NULL);
  fprintf(out, "turns %d\n", shared.turn);
  struct timespec soon;
  clock_gettime(CLOCK_REALTIME, &soon);
  pthread_mutex_lock(&shared.mutex);
  fprintf(out, "busy %d\n", pthread_mutex_trylock(&shared.mutex) == EBUSY);
  fprintf(out, "time %d\n", pthread_cond_timedwait(&shared.changed, &shared.mutex, &soon) == ETIMEDOUT);
  pthread_mutex_unlock(&shared.mutex);
  fprintf(out, "semaphore %d\n", sem_trywait(&shared.semaphore) == -1 && errno == EAGAIN);
}

static void specific_data(FILE* out) {
  pthread_key_t key;
  pthread_key_create(&key, NULL);
  fprintf(out, "at first %d\n", pthread_getspecific(key) == NULL);
  pthread_setspecific(key, out);
  usleep(1000);
  fprintf(out, "later %d\n", pthread_getspecific(key) == out);
  pthread_key_delete(key);
}

const struct Case kMoreCases[] = {
    {"PollTells", poll_tells}, {"SelectTells", select_tells},    {"EpollLevel", epoll_level},
    {"EpollEdge", epoll_edge}, {"EpollOneShot", epoll_one_shot}, {"Sleeps", sleeps},
    {"Names", names},          {"Processes", processes},         {"Streams", streams},
    {"Locks", locks},          {"SpecificData", specific_data},  {NULL, NULL}};
