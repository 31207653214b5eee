#pragma once

#include <atomic>
#include <boost/fiber/algo/algorithm.hpp>
#include <boost/fiber/context.hpp>
#include <boost/fiber/properties.hpp>
#include <boost/fiber/scheduler.hpp>
#include <boost/intrusive/list_hook.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "penstock/error.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/inbox.h"
#include "runtime/fiber/reactor.h"
#include "runtime/fiber/sanitizer.h"
#include "runtime/fiber/stack_arena.h"
#include "runtime/fiber/timer_heap.h"

namespace penstock::fiber {

struct SchedulerOptions {
  unsigned index = 0;
  std::size_t stack_bytes = 128 * 1024;
  // Told at every switch how long the fiber was ready before it ran. Called on the scheduler's thread.
  std::function<void(Duration)> run_delay;
};

// What hangs at every context of a scheduler thread.
struct Properties final : boost::fibers::fiber_properties {
  explicit Properties(boost::fibers::context* context) : fiber_properties(context) {}
  ~Properties() override;
  boost::fibers::context* context() const { return ctx_; }

  FiberState state;

  // Where the context is, and since when; the time goes to state.account at every change.
  enum class Phase { running, ready, waiting } phase = Phase::waiting;
  Instant since{};
  const std::string* waiting_for = nullptr;

  // What C++ and C keep per thread and a switch would mix up: the exceptions being handled, and errno.
  void* caught_exceptions = nullptr;
  unsigned uncaught_exceptions = 0;
  int saved_errno = 0;

  [[no_unique_address]] sanitizer::Strand strand;

  // In Scheduler::fibers(), from its spawn to its end.
  boost::intrusive::list_member_hook<> listed;
};

// The fibers of one thread, with the reactor and the timers inside Boost.Fiber's algorithm.
//
// A ready fiber is in a queue, first come first served. When the queue is empty, or every kSwitchesPerTurn switches,
// the dispatcher context takes a turn: it takes in what other threads sent, ends the waits whose time has come, looks
// for events without waiting, and frees ended fibers. With nothing ready at all it sleeps in epoll, at most until the
// next timer. All callbacks run on the dispatcher; they must not wait.
class Scheduler final : public boost::fibers::algo::algorithm {
 public:
  using FiberList = boost::intrusive::list<
      Properties, boost::intrusive::member_hook<Properties, boost::intrusive::list_member_hook<>, &Properties::listed>>;

  explicit Scheduler(SchedulerOptions options);
  ~Scheduler() override;

  // Of the calling thread; null: it runs none.
  static Scheduler* current() noexcept { return current_; }

  unsigned index() const noexcept { return options_.index; }
  Instant now() const noexcept { return now_; }
  const std::shared_ptr<Inbox>& inbox() const noexcept { return inbox_; }
  TimerHeap& timers() noexcept { return timers_; }
  Reactor& reactor() noexcept { return reactor_; }
  StackCache& stacks() noexcept { return stacks_; }

  static Properties& properties(boost::fibers::context* context);
  static Properties& active() { return properties(boost::fibers::context::active()); }
  // Of the thread's own context.
  Properties& main() noexcept { return main_; }

  // Counts time up to now to the account of the running fiber.
  void settle_account(Properties& running);
  // Suspends the calling fiber until make_ready().
  void suspend() noexcept;
  void make_ready(boost::fibers::context* context) noexcept { awakened(context); }
  // For operations that may succeed again and again without a wait: lets others run when this fiber has had its share,
  // and then throws Cancelled or DeadlineExceeded like a wait.
  void breathe();

  // Fibers between spawn and end.
  FiberList& fibers() noexcept { return fibers_; }
  void enlist(Properties& fiber) noexcept;
  void delist(Properties& fiber) noexcept;
  // Readable from any thread, while the scheduler lives.
  const std::shared_ptr<std::atomic<std::uint64_t>>& fiber_count() const noexcept { return fiber_count_; }

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

  void take_turn() noexcept;
  void read_clock() noexcept;
  boost::fibers::context* choose(boost::fibers::context* from) noexcept;
  void leave(Properties& from) noexcept;
  void enter(Properties& to) noexcept;

  static constinit thread_local Scheduler* current_;

  const SchedulerOptions options_;
  const std::shared_ptr<Inbox> inbox_;
  const std::shared_ptr<std::atomic<std::uint64_t>> fiber_count_;
  Properties& main_;
  StackCache stacks_;
  Reactor reactor_;
  Watch* bell_ = nullptr;
  TimerHeap timers_;
  boost::fibers::scheduler::ready_queue_type ready_;
  boost::fibers::context* dispatcher_ = nullptr;  // when it is ready
  Instant now_;
  Instant polled_{};
  int switches_ = 0;
  int operations_ = 0;
  bool sleep_allowed_ = true;
  bool cancelling_ = false;
  bool finishing_ = false;
  Waiter* server_ = nullptr;
  FiberList fibers_;
  std::vector<std::shared_ptr<void>> kept_;
};

}  // namespace penstock::fiber
