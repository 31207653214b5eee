#pragma once

#include <sys/types.h>

#include <cstdint>
#include <future>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/inbox.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::fiber {

// A thread that runs a Scheduler. All members are thread-safe, but the destructor.
class SchedulerThread {
 public:
  // Returns when it serves. Throws what making the scheduler threw.
  explicit SchedulerThread(SchedulerOptions options);
  // A thread that runs one by itself and ends with the process: neither its end nor that of its fibers is ours.
  SchedulerThread(std::shared_ptr<Inbox> inbox, std::shared_ptr<const Heartbeat> heartbeat, pid_t thread)
      : inbox_(std::move(inbox)), heartbeat_(std::move(heartbeat)), thread_number_(thread) {}
  // Cancels what still runs and waits for it to end; names in the log, every few seconds, what does not.
  ~SchedulerThread();
  SchedulerThread(const SchedulerThread&) = delete;
  SchedulerThread& operator=(const SchedulerThread&) = delete;

  // Throws std::logic_error once the thread has ended.
  Fiber spawn(std::string_view name, Callable fn);
  // Fibers between start and end.
  std::uint64_t fibers() const { return heartbeat_->fibers.load(std::memory_order_acquire); }
  // May be read from any thread, also after the end.
  const std::shared_ptr<const Heartbeat>& heartbeat() const { return heartbeat_; }
  const std::shared_ptr<Inbox>& inbox() const { return inbox_; }
  // The kernel's number of the thread.
  pid_t thread() const { return thread_number_; }
  // Cancels all fibers that are and that will be; returns at once.
  void cancel_all();
  // Logs the names of up to ten fibers that are left.
  void log_fibers();
  // The thread ends when no fiber is left.
  void finish();
  // Waits for the end, after finish(), at most so long; whether it has ended.
  bool wait_for_end(Duration at_most);
  // Waits for the end, after finish(). Logs what keeps it waiting. No effect once it was joined.
  void join();

 private:
  std::shared_ptr<Inbox> inbox_;
  std::shared_ptr<const Heartbeat> heartbeat_;
  pid_t thread_number_ = 0;
  std::future<void> served_;
  std::thread thread_;
};

}  // namespace penstock::fiber
