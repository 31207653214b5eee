#pragma once

#include <pthread.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/fiber/heartbeat.h"
#include "runtime/fiber/inbox.h"

// A program whose threads become fibers: what penstock-run makes of a process.
namespace penstock::interpose {

// A scheduler on the thread that the program's first thread ran on.
struct ProgramScheduler {
  std::shared_ptr<fiber::Inbox> inbox;
  std::shared_ptr<const fiber::Heartbeat> heartbeat;
  pid_t thread;
};

// From now on the first pthread_create() makes its caller a scheduler thread. `begun` is called on it before the first
// fiber is made, once in a process; from a plain thread it would be called on that.
void make_fibers_of_threads(void (*begun)(const ProgramScheduler&));
// From now on threads are the C library's.
void make_plain_threads() noexcept;

// Where a thread that the caller makes is to run; null: it becomes a thread of the C library, as those of the runtime
// itself and of plain threads.
std::shared_ptr<fiber::Inbox> home_of_new_thread() noexcept;
// Of the kernel.
pthread_t program_scheduler_thread() noexcept;

}  // namespace penstock::interpose
