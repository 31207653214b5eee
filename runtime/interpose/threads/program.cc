#include "runtime/interpose/threads/program.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <boost/fiber/operations.hpp>
#include <exception>
#include <future>
#include <memory>
#include <vector>

#include <spdlog/spdlog.h>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/scheduler_thread.h"
#include "runtime/fiber/without_thread_exit.h"
#include "runtime/interpose/epoll_set.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/plain_libraries.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signals.h"
#include "runtime/interpose/threads/thread_data.h"

PENSTOCK_REAL(pthread_self)
PENSTOCK_REAL(pthread_sigmask)

namespace penstock::interpose {
namespace {

// Refused: plain, and not said yet.
enum class Mode { plain, refused, wanted, running };
constinit std::atomic<Mode> mode{Mode::plain};
void (*tell_begun)(const std::vector<ProgramScheduler>&) = nullptr;
void (*tell_refused)(const std::string&) = nullptr;
unsigned wanted_threads = 1;
// Never destroyed: fibers make threads until the process ends. The first one is that of the first pthread_create().
std::vector<ProgramScheduler>* schedulers = nullptr;
constinit std::atomic<unsigned> placed{0};
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

// Never ends: the process does, as with threads of the kernel that still run then.
ProgramScheduler begin_another(unsigned index, std::size_t stack_bytes) {
  auto& thread = *new fiber::SchedulerThread({.index = index, .stack_bytes = stack_bytes, .for_ever = true});
  std::promise<pthread_t> begun;
  thread.inbox()->post([&begun, home = thread.inbox()] {
    try {
      take_signals(home, nullptr);
      begun.set_value(real::pthread_self());
    } catch (...) {
      begun.set_exception(std::current_exception());
    }
  });
  return {thread.inbox(), thread.heartbeat(), thread.thread(), begun.get_future().get()};
}

void begin_on_caller() {
  // Boost would end its scheduler, and wait for all fibers, when the thread ends, which is when the process does.
  const fiber::WithoutThreadExit for_ever;
  const fiber::PlainCalls plain;
  const std::size_t stack_bytes = default_stack_bytes();
  auto made = std::make_unique<std::vector<ProgramScheduler>>(1);
  {
    sigset_t all, before;
    ::sigfillset(&all);
    real::pthread_sigmask(SIG_BLOCK, &all, &before);
    for (unsigned i = 1; i < wanted_threads; ++i) made->push_back(begin_another(kSchedulerIndex + i, stack_bytes));
    real::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  // Instead of the 50 us that the kernel may be late by default.
  ::prctl(PR_SET_TIMERSLACK, 1);
  boost::fibers::use_scheduling_algorithm<fiber::Scheduler>(
      fiber::SchedulerOptions{.index = kSchedulerIndex, .stack_bytes = stack_bytes});
  fiber::Scheduler& mine = *fiber::Scheduler::current();
  made->front() = {mine.inbox(), mine.heartbeat(), static_cast<pid_t>(::gettid()), real::pthread_self()};
  ProgramThread::adopt_caller();
  take_signals(mine.inbox(), ProgramThread::first_one());
  schedulers = made.release();
  keep_listeners.store(true, std::memory_order_relaxed);
  if (tell_begun != nullptr) tell_begun(*schedulers);
}

// Why threads are to be plain from now on. Libraries may have been loaded since they were wanted to be fibers.
std::string begin_now() {
  Mode before = Mode::refused;
  const bool refused = mode.compare_exchange_strong(before, Mode::plain, std::memory_order_acq_rel);
  before = Mode::wanted;
  if (!refused && !mode.compare_exchange_strong(before, Mode::running, std::memory_order_acq_rel)) return "";
  std::string why = thread_data_objection();
  if (!why.empty() || refused) return why;
  try {
    begin_on_caller();
  } catch (const std::exception& error) {
    why = std::string("no scheduler could be made (") + error.what() + ")";
  }
  return why;
}

void tell_shared(const std::string& what) {
  const fiber::PlainCalls plain;
  spdlog::warn(
      "penstock-run: process {}: {}: it was loaded after the first fiber was made. Threads that it makes are the "
      "kernel's; for all to be, preload it (LD_PRELOAD)",
      ::getpid(), what);
}

}  // namespace

void make_fibers_of_threads(unsigned threads, void (*begun)(const std::vector<ProgramScheduler>&),
                            void (*refused)(const std::string&)) {
  tell_begun = begun;
  tell_refused = refused;
  wanted_threads = threads;
  const bool objected = !thread_data_objection().empty();
  if (!objected) keep_handlers();
  mode.store(objected ? Mode::refused : Mode::wanted, std::memory_order_release);
}

bool makes_fibers_of_threads() noexcept { return mode.load(std::memory_order_acquire) >= Mode::wanted; }

void make_plain_threads() noexcept {
  mode.store(Mode::plain, std::memory_order_release);
  keep_listeners.store(false, std::memory_order_relaxed);
}

pthread_t scheduler_thread_of(const fiber::Inbox& home) noexcept {
  for (const ProgramScheduler& scheduler : *schedulers) {
    if (scheduler.inbox.get() == &home) return scheduler.handle;
  }
  return schedulers->front().handle;
}

std::shared_ptr<fiber::Inbox> home_of_new_thread(const void* code) noexcept {
  const Mode now = mode.load(std::memory_order_acquire);
  if (now == Mode::plain || fiber::PlainCalls::active()) return nullptr;
  if (makes_plain_threads(code, now == Mode::running, tell_shared)) return nullptr;
  if (const std::string why = begin_now(); !why.empty()) {
    make_plain_threads();
    if (tell_refused != nullptr) tell_refused(why);
  }
  if (ProgramThread::current() == nullptr || schedulers == nullptr) return nullptr;
  return (*schedulers)[placed.fetch_add(1, std::memory_order_relaxed) % schedulers->size()].inbox;
}

}  // namespace penstock::interpose
