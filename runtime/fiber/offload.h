#pragma once

#include <condition_variable>
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

  // Runs fn on one of the threads while the calling fiber waits, whatever its deadline and even if it is cancelled.
  // Rethrows what fn threw. Thread-safe.
  void run(const std::function<void()>& fn);

 private:
  struct Job;
  void serve();
  void start_thread();

  const unsigned most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job*> queue_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;
  bool stopping_ = false;
};

}  // namespace penstock::fiber
