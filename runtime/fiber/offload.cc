#include "runtime/fiber/offload.h"

#include <pthread.h>

#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/waiter.h"

namespace penstock::fiber {

struct OffloadThreads::Job {
  const std::function<void()>& fn;
  Waiter done{"a function on another thread"};
  std::exception_ptr error;
};

OffloadThreads::OffloadThreads(unsigned least, unsigned most) : most_(most) {
  if (least < 1 || least > most) throw std::invalid_argument("offload threads: 1 <= least <= most");
  std::lock_guard lock(mutex_);
  while (threads_.size() < least) start_thread();
}

OffloadThreads::~OffloadThreads() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void OffloadThreads::start_thread() {
  const PlainCalls plain;
  threads_.emplace_back([this] {
    ::pthread_setname_np(::pthread_self(), "offload");
    serve();
  });
}

void OffloadThreads::run(const std::function<void()>& fn) {
  require_fiber("offload()");
  Job job{.fn = fn};
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(&job);
    if (queue_.size() > idle_ && threads_.size() < most_) {
      try {
        start_thread();
      } catch (const std::exception&) {
        // No thread, or no memory: the threads that there are will come to it.
      }
    }
  }
  changed_.notify_one();

  // fn refers to what lives on the fiber's stack, and nothing can stop a thread in a blocking call.
  FiberState& fiber = current();
  CancelShield shield;
  const Instant deadline = std::exchange(fiber.deadline, Instant::max());
  job.done.wait();
  fiber.deadline = deadline;
  if (job.error) std::rethrow_exception(job.error);
}

void OffloadThreads::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    Job& job = *queue_.front();
    queue_.pop_front();
    lock.unlock();
    try {
      job.fn();
    } catch (...) {
      job.error = std::current_exception();
    }
    job.done.notify();
    lock.lock();
  }
}

}  // namespace penstock::fiber
