#pragma once

#include <signal.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "penstock/runtime.h"
#include "penstock/sync.h"

namespace penstock {

namespace fiber {
class SchedulerThread;
class OffloadThreads;
}  // namespace fiber
namespace telemetry {
class LoopWatch;
}
class Registry;

// What a Runtime is made of. The lifecycle (runtime.cc) owns the threads; everything that a policy names is in the
// Registry (runtime_policy.cc).
struct Runtime::State {
  // Throws std::invalid_argument, naming the option. Blocks SIGTERM and SIGINT on the calling thread, so that all
  // threads made after it have them blocked, and run() gets them.
  explicit State(RuntimeOptions given);
  ~State();

  const RuntimeOptions options;
  const Instant began = std::chrono::steady_clock::now();
  MetricsRegistry metrics;
  // Destroyed after the threads.
  std::unique_ptr<Registry> registry;

  std::vector<std::unique_ptr<fiber::SchedulerThread>> threads;
  std::unique_ptr<fiber::OffloadThreads> offload;
  // Null: not wanted.
  std::unique_ptr<telemetry::LoopWatch> loop_watch;
  // Dumps of fibers, one at a time.
  Mutex dumping;
  std::uint32_t dumps = 0;
  std::atomic<unsigned> next_thread{0};

  // Lease of a controller; changes what draining() says, and nothing else.
  std::atomic<bool> lease_draining{false};
  // The drain has begun: nothing new is accepted any more.
  std::atomic<bool> stopping{false};
  // Units of work in flight that the drain waits for.
  std::atomic<std::int64_t> work{0};

  // Rung (an eventfd) by stop(), and when `work` becomes zero while stopping.
  const int bell;
  void ring() const noexcept;
  // Of the thread that made the runtime, before.
  sigset_t old_signals;

  std::mutex mutex;
  bool stop_requested = false;
  // Whether all has ended of what the drain waits for.
  bool drained = false;
  bool running = false;
  // Called when run() begins: servers accept from then on, with all their routes in place.
  std::vector<std::function<void()>> on_run;
  std::vector<std::pair<std::function<void()>, std::function<void()>>> on_drain;
};

// For the parts of the runtime itself.
struct RuntimeAccess {
  static Runtime::State& state(Runtime& runtime) { return *runtime.state_; }
  static const Runtime::State& state(const Runtime& runtime) { return *runtime.state_; }

  // The process's; null: there is none, or it is being destroyed. From any thread, which holds the runtime from being
  // destroyed as long as it uses it: as its fibers do.
  static Runtime* of_process() noexcept;
  // How many have been destroyed: what belonged to one may not be touched when another is.
  static std::uint64_t ended() noexcept;

  // A unit of work that the drain waits for, such as a request. Ends when destroyed; thread-safe.
  class Work {
   public:
    explicit Work(Runtime& runtime);
    ~Work();
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

   private:
    Runtime::State& state_;
  };

  // A scheduler thread that the runtime has not made: shown and watched like its own, after them. Before start().
  static void adopt(Runtime& runtime, std::unique_ptr<fiber::SchedulerThread> thread);
  // What run() does first, for a runtime that never drains.
  static void start(Runtime& runtime);

  // fn is called by run() when it begins, without any lock; at once if it has.
  static void on_run(Runtime& runtime, std::function<void()> fn);

  // True once the drain has begun, as opposed to Runtime::draining(), which a lease can also set and take back.
  static bool stopping(const Runtime& runtime) { return state(runtime).stopping.load(std::memory_order_acquire); }
  // Fibers alive on all scheduler threads.
  static std::uint64_t fibers(const Runtime& runtime);
};

}  // namespace penstock
