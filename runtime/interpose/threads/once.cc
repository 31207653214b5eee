#include <pthread.h>

#include <atomic>
#include <mutex>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/threads/fork.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/program_thread.h"

namespace penstock::interpose {
namespace {

// As in the C library: done is 2, so that what it or compilers look at is right; in progress is 1, above it the number
// of the process in the line of forks, since nobody ends in a child what another thread of its parent has begun.
constexpr int kDone = 2;
constexpr int kInProgress = 1;
constexpr int kOneFork = 4;
constinit std::atomic<int> forks{0};

struct Attempt {
  int* control;
  bool done = false;

  ~Attempt() {
    ParkingLock lock(control);
    std::atomic_ref<int>(*control).store(done ? kDone : 0, std::memory_order_release);
    lock.wake_up_to(SIZE_MAX);
  }
};

// What std::call_once() passes to its function, by way of thread_local variables: another fiber's call comes between
// when this one waits.
class CallOnce {
 public:
  void restore() const noexcept {
    std::__once_callable = callable_;
    std::__once_call = call_;
  }

 private:
  void* const callable_ = std::__once_callable;
  void (*const call_)() = std::__once_call;
};

int run_once(int* control, void (*function)()) {
  std::atomic_ref<int> word(*control);
  const CallOnce call;
  for (;;) {
    const int in_progress = kInProgress | (forks.load(std::memory_order_relaxed) * kOneFork);
    int now = word.load(std::memory_order_acquire);
    if ((now & kDone) != 0) return 0;
    if (now == in_progress) {
      Parking parking(control, "a function that is called once");
      {
        ParkingLock lock(control);
        if (word.load(std::memory_order_acquire) != in_progress) continue;
        parking.join(lock);
      }
      parking.wait(Instant::max());
      continue;
    }
    if (!word.compare_exchange_strong(now, in_progress, std::memory_order_acquire)) continue;
    call.restore();
    Attempt attempt{control};
    function();
    attempt.done = true;
    return 0;
  }
}

}  // namespace

void count_fork() noexcept { forks.fetch_add(1, std::memory_order_relaxed); }

}  // namespace penstock::interpose

PENSTOCK_INTERPOSED int pthread_once(pthread_once_t* control, void (*function)()) {
  return penstock::interpose::run_once(control, function);
}
