#include "runtime/fiber/offload.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/uninterrupted.h"
#include "runtime/fiber/waiter.h"

namespace penstock::fiber {

struct OffloadThreads::Job {
  const std::function<void()>& fn;
  // Of the wait that its end ends.
  Waiter* waiter;
  bool ended = false;
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
  constexpr const char* kWaitingFor = "a function on another thread";
  Waiter at_first(kWaitingFor);
  Job job{.fn = fn, .waiter = &at_first};
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

  const auto wait_for_end = [&] {
    // fn refers to what lives on the fiber's stack, and nothing can stop a thread in a blocking call.
    const Uninterrupted always;
    Waiter to_the_end(kWaitingFor);
    {
      std::lock_guard lock(mutex_);
      if (job.ended) return;
      job.waiter = &to_the_end;
    }
    to_the_end.wait();
  };
  try {
    const Wake why = at_first.wait();
    if (why != Wake::notified) {
      if (withdraw(job)) throw_if_interrupted(why, "a thread for a function that blocks");
      wait_for_end();
    }
  } catch (const std::bad_alloc&) {
    if (withdraw(job)) throw;
    wait_for_end();
  }
  if (job.error) std::rethrow_exception(job.error);
}

bool OffloadThreads::withdraw(const Job& job) {
  std::lock_guard lock(mutex_);
  const auto place = std::find(queue_.begin(), queue_.end(), &job);
  if (place == queue_.end()) return false;
  queue_.erase(place);
  return true;
}

std::size_t OffloadThreads::waiting() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
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
    lock.lock();
    job.ended = true;
    // The last that is seen of it.
    job.waiter->notify();
  }
}

}  // namespace penstock::fiber
