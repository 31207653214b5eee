#include "runtime/fiber/scheduler_thread.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/fiber/operations.hpp>
#include <chrono>
#include <future>
#include <optional>
#include <string>
#include <utility>

#include "runtime/fiber/fiber_access.h"
#include "runtime/fiber/without_thread_exit.h"
#include "runtime/telemetry/stack_overflow.h"

namespace penstock::fiber {
namespace {

constexpr auto kComplainEvery = std::chrono::seconds(5);

}  // namespace

SchedulerThread::SchedulerThread(SchedulerOptions options) {
  // Made by whoever logs first, it would be in the moment of a shortage; and ThreadSanitizer does not see how spdlog
  // hands it to other threads.
  spdlog::default_logger_raw();
  struct Started {
    std::shared_ptr<Inbox> inbox;
    std::shared_ptr<const Heartbeat> heartbeat;
    pid_t thread;
  };
  std::promise<Started> promise;
  auto started = promise.get_future();
  std::promise<void> served;
  served_ = served.get_future();
  thread_ =
      std::thread([promise = std::move(promise), served = std::move(served), options = std::move(options)]() mutable {
        std::optional<WithoutThreadExit> for_ever;
        if (options.for_ever) for_ever.emplace();
        telemetry::diagnose_stack_overflows();
        const telemetry::AlternateStack alternate;
        // Instead of the 50 us that the kernel may be late by default.
        ::prctl(PR_SET_TIMERSLACK, 1);
        ::pthread_setname_np(::pthread_self(), ("fibers-" + std::to_string(options.index)).c_str());
        try {
          boost::fibers::use_scheduling_algorithm<Scheduler>(std::move(options));
        } catch (...) {
          promise.set_exception(std::current_exception());
          return;
        }
        for_ever.reset();
        Scheduler& scheduler = *Scheduler::current();
        promise.set_value({scheduler.inbox(), scheduler.heartbeat(), static_cast<pid_t>(::syscall(SYS_gettid))});
        scheduler.serve();
        served.set_value();
      });
  try {
    auto [inbox, heartbeat, thread] = started.get();
    inbox_ = std::move(inbox);
    heartbeat_ = std::move(heartbeat);
    thread_number_ = thread;
  } catch (...) {
    thread_.join();
    throw;
  }
}

SchedulerThread::~SchedulerThread() {
  if (!thread_.joinable()) return;
  cancel_all();
  finish();
  join();
}

Fiber SchedulerThread::spawn(std::string_view name, Callable fn) {
  return FiberAccess::spawn_at(inbox_, name, std::move(fn));
}

void SchedulerThread::cancel_all() {
  if (!thread_.joinable()) return;
  inbox_->post([] { Scheduler::current()->cancel_all(); });
}

void SchedulerThread::log_fibers() {
  inbox_->post([] {
    std::string names;
    int left = 10;
    for (const Properties& fiber : Scheduler::current()->fibers()) {
      if (left-- == 0) break;
      if (!names.empty()) names += ", ";
      TaskName name;
      fiber.state.describe(name);
      names += name.view();
    }
    if (!names.empty()) spdlog::warn("fibers that were cancelled and have not ended: {}", names);
  });
}

void SchedulerThread::finish() {
  if (!thread_.joinable()) return;
  inbox_->post([] { Scheduler::current()->finish(); });
}

bool SchedulerThread::wait_for_end(Duration at_most) {
  return !served_.valid() || served_.wait_for(at_most) == std::future_status::ready;
}

void SchedulerThread::join() {
  if (!thread_.joinable()) return;
  while (!wait_for_end(kComplainEvery)) log_fibers();
  thread_.join();
}

}  // namespace penstock::fiber
