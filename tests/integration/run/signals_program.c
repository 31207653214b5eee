#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

// Handlers that jump, and functions for signals from before POSIX, in a program with threads that wait. Prints what it
// has seen.

sighandler_t __sysv_signal(int number, sighandler_t handler);

static sigjmp_buf place;
static volatile int handled;

static void jump(int number) { siglongjmp(place, number); }
static void count(int number) { handled += number != 0; }
static void unblock_and_jump(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  siglongjmp(place, number);
}

static void install(int number, void (*handler)(int)) {
  const struct sigaction action = {.sa_handler = handler};
  sigaction(number, &action, NULL);
}

static int is_blocked(int number) {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, NULL, &set);
  return sigismember(&set, number);
}

static void set_alarm(long us) {
  const struct itimerval time = {.it_value = {0, us}};
  setitimer(ITIMER_REAL, &time, NULL);
}

static void* wait_for_byte(void* argument) {
  char byte;
  return (void*)read(*(int*)argument, &byte, 1);
}

static void a_read_with_a_time(void (*handler)(int)) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) return;
  install(SIGALRM, handler);
  if (sigsetjmp(place, 1) == 0) {
    char byte;
    set_alarm(5000);
    if (read(fds[0], &byte, 1) != 0) printf("the read came back\n");
  } else {
    printf("left, blocked: %d\n", is_blocked(SIGALRM));
  }
  close(fds[0]);
  close(fds[1]);
}

static void a_loop_with_a_time(void) {
  install(SIGALRM, jump);
  if (sigsetjmp(place, 1) == 0) {
    set_alarm(5000);
    for (volatile long i = 0;; ++i) {
    }
  }
  printf("left the loop, blocked: %d\n", is_blocked(SIGALRM));
}

static void jumps_with_and_without_masks(void) {
  install(SIGUSR1, jump);
  if (sigsetjmp(place, 0) == 0) raise(SIGUSR1);
  printf("kept: %d\n", is_blocked(SIGUSR1));
  sigset_t set;
  sigemptyset(&set);
  pthread_sigmask(SIG_SETMASK, &set, NULL);
  sigaddset(&set, SIGUSR2);
  if (sigsetjmp(place, 1) == 0) {
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    printf("blocked: %d\n", is_blocked(SIGUSR2));
    siglongjmp(place, 1);
  }
  printf("restored: %d\n", is_blocked(SIGUSR2));
}

static void old_functions(void) {
  __sysv_signal(SIGUSR1, count);
  raise(SIGUSR1);
  struct sigaction action;
  sigaction(SIGUSR1, NULL, &action);
  printf("handled %d, reset: %d\n", handled, action.sa_handler == SIG_DFL);
  signal(SIGUSR1, count);
  siginterrupt(SIGUSR1, 1);
  sigaction(SIGUSR1, NULL, &action);
  printf("restarts: %d\n", (action.sa_flags & SA_RESTART) != 0);
  // It is kept for the next handler.
  for (int interrupts = 1; interrupts >= 0; --interrupts) {
    siginterrupt(SIGUSR1, interrupts);
    signal(SIGUSR1, count);
    sigaction(SIGUSR1, NULL, &action);
    printf("restarts: %d\n", (action.sa_flags & SA_RESTART) != 0);
  }
  const int refused = signal(SIGUSR1, SIG_ERR) == SIG_ERR;
  printf("refused: %d, %d\n", refused, errno == EINVAL);
  sighold(SIGUSR1);
  raise(SIGUSR1);
  sigset_t set;
  sigpending(&set);
  printf("handled %d, pending: %d\n", handled, sigismember(&set, SIGUSR1));
  sigrelse(SIGUSR1);
  printf("handled %d\n", handled);
  const int mask = 1 << (SIGUSR1 - 1);
  printf("held before: %d\n", (sigblock(mask) & mask) != 0);
  kill(getpid(), SIGUSR1);
  printf("handled %d\n", handled);
  sigsetmask(0);
  while (handled < 3) usleep(1000);
  printf("had: %d\n", sigset(SIGUSR1, SIG_HOLD) == count);
  printf("held: %d\n", sigset(SIGUSR1, count) == SIG_HOLD);
}

static volatile int values[64];
static volatile int next_value;
static void keep_value(int number, siginfo_t* info, void* context) {
  (void)number;
  (void)context;
  values[next_value++] = info->si_value.sival_int;
}

// From another process, while all threads wait.
static void each_has_its_value(void) {
  const struct sigaction action = {.sa_sigaction = keep_value, .sa_flags = SA_SIGINFO};
  sigaction(SIGRTMIN + 1, &action, NULL);
  const pid_t me = getpid();
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 64; ++i) sigqueue(me, SIGRTMIN + 1, (union sigval){.sival_int = i});
    _exit(0);
  }
  while (next_value < 64) usleep(1000);
  waitpid(child, NULL, 0);
  int sum = 0;
  for (int i = 0; i < 64; ++i) sum += values[i];
  printf("values: %d\n", sum);
}

static void* all(void* argument) {
  (void)argument;
  for (int i = 0; i < 3; ++i) {
    a_read_with_a_time(jump);
    a_read_with_a_time(unblock_and_jump);
    a_loop_with_a_time();
  }
  jumps_with_and_without_masks();
  return NULL;
}

int main(void) {
  int fds[2];
  if (pipe(fds) != 0) return 1;
  setvbuf(stdout, NULL, _IONBF, 0);
  // Signals are for the first thread, also with others there.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN + 1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t threads[10];
  for (int i = 0; i < 10; ++i) pthread_create(&threads[i], NULL, wait_for_byte, fds);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  all(NULL);
  old_functions();
  each_has_its_value();
  // Or for the only one that does not block them.
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigset_t before;
  pthread_t other;
  pthread_sigmask(SIG_SETMASK, &none, &before);
  pthread_create(&other, NULL, all, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_join(other, NULL);
  long read_by_all = 0;
  for (int i = 0; i < 10; ++i) {
    if (write(fds[1], "x", 1) != 1) return 1;
  }
  for (int i = 0; i < 10; ++i) {
    void* result;
    pthread_join(threads[i], &result);
    read_by_all += (long)result;
  }
  printf("%ld\n", read_by_all);
  return 0;
}
