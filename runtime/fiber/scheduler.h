#pragma once

#include <atomic>
#include <boost/fiber/algo/algorithm.hpp>
#include <boost/fiber/context.hpp>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "penstock/error.h"
#include "runtime/fiber/delayed_task.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/heartbeat.h"
#include "runtime/fiber/inbox.h"
#include "runtime/fiber/reactor.h"
#include "runtime/fiber/stack_arena.h"
#include "runtime/fiber/task.h"
#include "runtime/fiber/timer_wheel.h"
#include "runtime/fiber/worker.h"
#include "runtime/telemetry/gdb_layout.h"

namespace penstock::fiber {

struct SchedulerOptions {
  unsigned index = 0;
  std::size_t stack_bytes = 128 * 1024;
  // Told how long fibers were ready before they ran: so many of them, so long on average. Those that hardly waited are
  // told together, once a turn; others at once. Called on the scheduler's thread.
  std::function<void(Duration, std::uint64_t)> run_delay;
  // A fiber that has run so long without a switch is named in the log when it switches or ends.
  Duration long_run = Duration::max();
  // The thread ends with the process, and nothing of it is destroyed before. Of a SchedulerThread.
  bool for_ever = false;
};

// Measures how long one fiber runs at a time, while it is known to the scheduler.
struct RunWatch {
  const Properties* fiber;
  // Shorter runs are not looked at.
  Duration at_least;
  // What ran before does not count.
  Instant begun;
  Duration longest{};
  RunWatch* next = nullptr;
};

// The fibers of one thread, with the reactor and the timers inside Boost.Fiber's algorithm.
//
// What is ready is in a queue, first come first served: fibers that go on, and tasks that have not started. A task is
// taken by a worker fiber: the one that has just ended another task takes it in place, without a switch; else the one
// that was parked last, whose stack is the hottest; else one is made. Workers beyond a number that were parked for a
// whole second end in pieces, so that a burst's end and the next burst do not pay for their stacks.
//
// When the queue is empty, every kSwitchesPerTurn switches and tasks, and when the last one was a millisecond ago, the
// dispatcher context takes a turn: it takes in what other threads sent, ends the waits whose time has come, looks for
// events without waiting, and frees ended workers. With nothing ready at all it sleeps in epoll, at most until the next
// timer. All callbacks run on the dispatcher; they must not wait.
//
// The clock is read once a turn and, in between, when a microsecond or so has passed since: now() lags at most that
// much behind the last switch.
class Scheduler final : public boost::fibers::algo::algorithm {
 public:
  using FiberList = boost::intrusive::list<
      Properties, boost::intrusive::member_hook<Properties, decltype(Properties::listed), &Properties::listed>>;

  explicit Scheduler(SchedulerOptions options);
  ~Scheduler() override;

  // Of the calling thread; null: it runs none.
  static Scheduler* current() noexcept { return current_; }

  // In a forked child, which has neither the other threads nor a right to the epoll set: the caller is a plain thread
  // from now on, and what it had waits for nothing.
  static void abandon() noexcept { current_ = nullptr; }

  unsigned index() const noexcept { return options_.index; }
  Instant now() const noexcept { return now_; }
  // At most 2 us old.
  Instant recent() noexcept;
  const std::shared_ptr<Inbox>& inbox() const noexcept { return inbox_; }
  TimerWheel& timers() noexcept { return timers_; }
  Reactor& reactor() noexcept { return reactor_; }
  StackCache& stacks() noexcept { return stacks_; }

  static Properties& properties(boost::fibers::context* context);
  // Of the context that runs.
  Properties& running() noexcept { return *running_; }
  // The running fiber, if that address is in its stack or in the guard page below. On its thread, also from a handler
  // of SIGSEGV: async-signal-safe.
  const Worker* running_at(const void* address) const noexcept;
  // Of the thread's own context.
  Properties& main() noexcept { return main_; }

  // Queues the task behind all that is ready. From a fiber of this thread, or a callback of its dispatcher.
  //
  // When no stack can be made for it, it waits for a worker to end another task, for a second at most: longer would
  // only hide that fibers which cannot start may be what the workers wait for. With no worker at all it is refused at
  // once.
  void start(Task& task) noexcept;
  // When its time has come: the same. Refused with Cancelled when all fibers are cancelled before. Throws
  // std::bad_alloc.
  void start_at(Instant t, DelayedTask& delayed);
  // It will not be started.
  void withdraw(DelayedTask& delayed) noexcept;
  // What a task that has ended does not keep: called when run() returns, and may be called by run() before it announces
  // its end; waits are impossible after it.
  void end_task(Properties& worker) noexcept;

  // Counts time up to now to the account of the running fiber.
  void settle_account(Properties& running);
  // Suspends the calling fiber until make_ready().
  void suspend() noexcept;
  void make_ready(Properties& fiber) noexcept;
  // Lets what is ready run first.
  void yield() noexcept;
  // For operations that may succeed again and again without a wait: lets others run when this fiber has had its share,
  // and then throws Cancelled or DeadlineExceeded like a wait.
  void breathe();

  // From now on, until unwatch(). Costs other fibers nothing.
  void watch_runs(RunWatch& watch) noexcept;
  void unwatch(RunWatch& watch) noexcept;

  // Those that run a task.
  FiberList& fibers() noexcept { return fibers_; }
  // Worker fibers, parked or not.
  std::size_t workers() const noexcept { return workers_; }
  // How long what runs now was ready before it ran.
  Duration last_delay() const noexcept { return last_delay_; }
  // What is ready, of which more than two count as two.
  int ready_up_to_two() const noexcept { return ready_.up_to_two(); }
  // Readable from any thread, also when the scheduler has ended.
  const std::shared_ptr<Heartbeat>& heartbeat() const noexcept { return heartbeat_; }

  // Cancels all fibers that are and that will be.
  void cancel_all() noexcept;
  bool cancelling() const noexcept { return cancelling_; }

  // Keeps something until the thread ends, such as its resolver; the thread's main context destroys it.
  void keep(std::shared_ptr<void> thing) { kept_.push_back(std::move(thing)); }

  // For the thread's main context: serves until finish() was called, no fiber is left and the inbox is closed.
  void serve();
  // From a post.
  void finish() noexcept;

  void awakened(boost::fibers::context* context) noexcept override;
  boost::fibers::context* pick_next() noexcept override;
  bool has_ready_fibers() const noexcept override { return !ready_.empty(); }
  void suspend_until(Instant const& until) noexcept override;
  void notify() noexcept override { inbox_->notify(); }

 private:
  class Bell;
  // When workers that nobody needs are ended.
  class Surplus final : public Timer {
   public:
    explicit Surplus(Scheduler& scheduler) : scheduler_(scheduler) {}
    // The fewest that were parked at a time since it was set.
    std::size_t least = 0;
    bool is_set = false;

   private:
    void on_time() noexcept override;
    Scheduler& scheduler_;
  };

  void take_turn() noexcept;
  void read_clock() noexcept;
  void read_clock_seldom() noexcept;
  bool dispatcher_is_due() const noexcept;
  Properties* choose() noexcept;
  Properties* hand_over(Properties::Phase leaving_is) noexcept;
  void end_long_run(const Properties& fiber) noexcept;
  void tell_long_run(const Properties& fiber) noexcept;
  void prefetch_next() noexcept;
  void leave(Properties& from, Properties::Phase is) noexcept;
  void enter(Properties& to) noexcept;
  void cancel_delayed() noexcept;
  void beat(const Properties& running) noexcept;
  void tell_delay(Duration delay) noexcept;

  friend struct Properties;
  void return_to_main(Properties& from) noexcept;

  // worker.cc
  bool fits(const Task& task) const noexcept;
  Worker* find_worker(const Task& task, bool may_make) noexcept;
  Worker* worker_for(Task& task) noexcept;
  Worker* unpark() noexcept;
  void park(Worker& worker) noexcept;
  StackCache& stacks_of(std::size_t stack_bytes);
  Worker* make_worker(std::size_t stack_bytes) noexcept;
  void work(Worker& worker) noexcept;
  void begin(Worker& worker, Task& task) noexcept;
  bool next_in_place(Worker& worker) noexcept;
  void find_workers_for_starved() noexcept;
  void refuse(Task& task) noexcept;
  void one_less() noexcept;
  void watch_surplus() noexcept;
  void set_surplus(Duration after) noexcept;
  void end_surplus_workers() noexcept;
  void end_workers(std::size_t many) noexcept;

  static constinit thread_local Scheduler* current_;

  const SchedulerOptions options_;
  const std::shared_ptr<Inbox> inbox_;
  const std::shared_ptr<Heartbeat> heartbeat_;
  Properties& main_;
  Properties* running_;
  StackCache stacks_;
  // For tasks that want another size, by that.
  std::map<std::size_t, StackCache> other_stacks_;
  Reactor reactor_;
  Watch* bell_ = nullptr;
  TimerWheel timers_;
  RunQueue ready_;
  Properties* dispatcher_ = nullptr;  // when it is ready
  Instant now_;
  std::uint64_t ticks_ = 0;  // of the processor, when the clock was read
  Instant turned_{};
  Instant polled_{};
  // Runs from this length on are looked at when they end.
  Duration long_run_;
  RunWatch* run_watches_ = nullptr;
  Instant long_run_told_{};
  int switches_ = 0;
  int operations_ = 0;
  // Run delays too short to be told one by one.
  std::uint64_t short_delays_ = 0;
  Duration short_delay_sum_{};
  Duration last_delay_{};

  // Parked workers, the last one first.
  Worker* parked_ = nullptr;
  std::size_t parked_count_ = 0;
  Surplus surplus_{*this};
  std::size_t workers_ = 0;
  std::uint64_t last_id_ = 0;
  // Tasks that have had their turn and no stack, and when one is tried for again.
  RunQueue starved_;
  Instant try_stacks_at_{};
  Instant complain_at_{};

  bool sleep_allowed_ = true;
  bool cancelling_ = false;
  bool finishing_ = false;
  Waiter* server_ = nullptr;
  FiberList fibers_;
  boost::intrusive::list<
      DelayedTask, boost::intrusive::member_hook<DelayedTask, decltype(DelayedTask::listed_), &DelayedTask::listed_>>
      delayed_;
  std::vector<std::shared_ptr<void>> kept_;
  telemetry::GdbThread shown_to_gdb_;
};

}  // namespace penstock::fiber
