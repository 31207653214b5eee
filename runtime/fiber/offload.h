#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace penstock::fiber {

// Plain threads for calls that block. Starts small and grows while all of them are busy.
class OffloadThreads {
 public:
  // 1 <= least <= most.
  OffloadThreads(unsigned least, unsigned most);
  // Finishes what is queued.
  ~OffloadThreads();
  OffloadThreads(const OffloadThreads&) = delete;
  OffloadThreads& operator=(const OffloadThreads&) = delete;

  // Runs fn on one of the threads while the calling fiber waits. Until a thread takes it, the fiber's deadline and its
  // cancellation end the wait, and fn is not run; from then on nothing does. Rethrows what fn threw. Thread-safe.
  void run(const std::function<void()>& fn);
  // Functions that no thread has taken yet. Thread-safe.
  std::size_t waiting() const;

 private:
  struct Job;
  void serve();
  void start_thread();
  bool withdraw(const Job& job);

  const unsigned most_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job*> queue_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;
  bool stopping_ = false;
};

}  // namespace penstock::fiber
