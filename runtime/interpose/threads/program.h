#pragma once

#include <pthread.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/fiber/heartbeat.h"
#include "runtime/fiber/inbox.h"

// A program whose threads become fibers: what penstock-run makes of a process.
namespace penstock::interpose {

// A thread of the kernel's that runs some of the program's as fibers.
struct ProgramScheduler {
  std::shared_ptr<fiber::Inbox> inbox;
  std::shared_ptr<const fiber::Heartbeat> heartbeat;
  pid_t thread;
  pthread_t handle;
};

// From now on the first pthread_create() makes its caller a scheduler thread, and so many besides that there are
// `threads`; threads of the program are placed on them in turn. `begun` is called on the first before a fiber is made,
// once in a process. From a plain thread it would be called on that. Where threads cannot be fibers, `refused` is
// called instead, with the reason as a sentence.
void make_fibers_of_threads(unsigned threads, void (*begun)(const std::vector<ProgramScheduler>&),
                            void (*refused)(const std::string& why));
bool makes_fibers_of_threads() noexcept;
// From now on threads are the C library's.
void make_plain_threads() noexcept;

// Where a thread that the caller makes is to run; null: it becomes a thread of the C library, as those of the runtime
// itself, of plain threads, and of libraries (which `code` may be in) whose threads are plain.
std::shared_ptr<fiber::Inbox> home_of_new_thread(const void* code) noexcept;
// The kernel's thread that runs those of that home.
pthread_t scheduler_thread_of(const fiber::Inbox& home) noexcept;

}  // namespace penstock::interpose
