#include <pthread.h>
#include <unistd.h>

#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/descriptor.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/fork.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/program.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signals.h"

PENSTOCK_REAL(_Fork)

namespace penstock::interpose {
namespace {

// Of its parent's threads the child has the caller alone, on its stack. It runs no scheduler: what was one belongs to
// its parent, epoll set and all.
void begin() noexcept {
  count_fork();
  if (fiber::Scheduler::current() == nullptr) return;
  ProgramThread* caller = ProgramThread::current();
  forget_parkings();
  forget_watches();
  make_plain_threads();
  if (caller != nullptr) {
    begin_child_mask(caller->blocked);
    ProgramThread::begin_child(caller);
  }
  fiber::Scheduler::abandon();
}

[[gnu::constructor]] void watch_forks() { ::pthread_atfork(nullptr, nullptr, begin); }

}  // namespace
}  // namespace penstock::interpose

// A child that shares its parent's memory until it executes a program would close the parent's descriptors in it.
PENSTOCK_INTERPOSED pid_t vfork() noexcept { return ::fork(); }

// It tells nobody.
PENSTOCK_INTERPOSED pid_t _Fork() noexcept {
  const pid_t child = penstock::interpose::real::_Fork();
  if (child == 0) penstock::interpose::begin();
  return child;
}
