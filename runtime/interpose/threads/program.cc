#include "runtime/interpose/threads/program.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <boost/fiber/operations.hpp>
#include <exception>

#include <spdlog/spdlog.h>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/epoll_set.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signals.h"
#include "runtime/interpose/threads/thread_data.h"

PENSTOCK_REAL(pthread_self)

namespace penstock::interpose {
namespace {

enum class Mode { plain, wanted, running };
constinit std::atomic<Mode> mode{Mode::plain};
void (*tell_begun)(const ProgramScheduler&) = nullptr;
// Never destroyed: fibers make threads until the process ends.
ProgramScheduler* scheduler = nullptr;
pthread_t scheduler_thread;
// After those of the runtime that the process may have besides.
constexpr unsigned kSchedulerIndex = 1;

std::size_t default_stack_bytes() {
  std::size_t bytes = 0;
  pthread_attr_t defaults;
  if (::pthread_getattr_default_np(&defaults) != 0) return 8 * 1024 * 1024;
  ::pthread_attr_getstacksize(&defaults, &bytes);
  ::pthread_attr_destroy(&defaults);
  return bytes;
}

void begin_on_caller() {
  // Boost would end its scheduler, and wait for all fibers, when the thread ends, which is when the process does.
  const WithoutThreadExit for_ever;
  const fiber::PlainCalls plain;
  // Instead of the 50 us that the kernel may be late by default.
  ::prctl(PR_SET_TIMERSLACK, 1);
  boost::fibers::use_scheduling_algorithm<fiber::Scheduler>(
      fiber::SchedulerOptions{.index = kSchedulerIndex, .stack_bytes = default_stack_bytes()});
  fiber::Scheduler& made = *fiber::Scheduler::current();
  scheduler_thread = real::pthread_self();
  scheduler = new ProgramScheduler{made.inbox(), made.heartbeat(), static_cast<pid_t>(::gettid())};
  ProgramThread::adopt_caller();
  take_signals(*ProgramThread::first_one(), made.inbox());
  keep_listeners.store(true, std::memory_order_relaxed);
  if (tell_begun != nullptr) tell_begun(*scheduler);
}

}  // namespace

void make_fibers_of_threads(void (*begun)(const ProgramScheduler&)) {
  tell_begun = begun;
  keep_handlers();
  mode.store(Mode::wanted, std::memory_order_release);
}

void make_plain_threads() noexcept {
  mode.store(Mode::plain, std::memory_order_release);
  keep_listeners.store(false, std::memory_order_relaxed);
}

pthread_t program_scheduler_thread() noexcept { return scheduler_thread; }

std::shared_ptr<fiber::Inbox> home_of_new_thread() noexcept {
  if (mode.load(std::memory_order_acquire) == Mode::plain || fiber::PlainCalls::active()) return nullptr;
  Mode wanted = Mode::wanted;
  if (mode.compare_exchange_strong(wanted, Mode::running, std::memory_order_acq_rel)) {
    try {
      begin_on_caller();
    } catch (const std::exception& error) {
      spdlog::error("threads stay threads of the kernel: no scheduler could be made ({})", error.what());
      make_plain_threads();
    }
  }
  return ProgramThread::current() != nullptr && scheduler != nullptr ? scheduler->inbox : nullptr;
}

}  // namespace penstock::interpose
