#include "runtime/fiber/scheduler.h"

#include <cxxabi.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/waiter.h"

namespace penstock::fiber {
namespace {

// The bounds on how long I/O and timers wait behind fibers that are always ready.
constexpr int kSwitchesPerTurn = 61;
constexpr auto kTurnAtLeastEvery = std::chrono::milliseconds(1);
constexpr auto kPollAtLeastEvery = std::chrono::microseconds(100);
// Operations on always-ready descriptors before a fiber lets others run.
constexpr int kOperationsPerSwitch = 64;

// The head of the Itanium C++ ABI's __cxa_eh_globals, which <cxxabi.h> leaves opaque.
struct ExceptionGlobals {
  void* caught_exceptions;
  unsigned uncaught_exceptions;
};

// Not inlined: the compiler may keep the address of a thread's errno or exception state over a call.
[[gnu::noinline]] ExceptionGlobals& exception_globals() {
  return *reinterpret_cast<ExceptionGlobals*>(abi::__cxa_get_globals());
}

constexpr std::size_t kCacheLine = 64;
// What a fiber touches first when it goes on: the frames of its wait and of those that called it.
constexpr std::size_t kFirstFrames = 2048;
// What starts a task: most of them are connections.
constexpr std::size_t kFirstOfTask = 320;

void prefetch(const void* first, std::size_t bytes) noexcept {
  for (std::size_t at = 0; at < bytes; at += kCacheLine) {
    __builtin_prefetch(static_cast<const std::byte*>(first) + at, 1);
  }
}

// Less than the first edge of any histogram of delays.
constexpr auto kShortDelay = std::chrono::microseconds(5);
// A microsecond at 2 GHz: the processor's counter runs at 1 to 5 GHz.
[[maybe_unused]] constexpr std::uint64_t kTicksBetweenReads = 2'000;

}  // namespace

constinit thread_local Scheduler* Scheduler::current_ = nullptr;

// Wakes the sleeping thread; what there is to do is in the inbox.
class Scheduler::Bell final : public Watch {
 public:
  using Watch::Watch;

 private:
  void on_events(std::uint32_t) noexcept override {}
};

Scheduler::Scheduler(SchedulerOptions options)
    : options_(std::move(options)),
      inbox_(std::make_shared<Inbox>()),
      heartbeat_(std::make_shared<Heartbeat>()),
      main_(properties(boost::fibers::context::active())),
      running_(&main_),
      stacks_(options_.stack_bytes),
      now_(std::chrono::steady_clock::now()),
      long_run_(options_.long_run),
      shown_to_gdb_(options_.index, fibers_.end().pointed_node(), &now_) {
  if (current_ != nullptr) std::terminate();
  auto bell = std::make_unique<Bell>(inbox_->event_fd());
  reactor_.add(*bell, EPOLLIN | EPOLLET);
  bell_ = bell.release();
  current_ = this;
  main_.phase = Properties::Phase::running;
  main_.since = now_;
}

Scheduler::~Scheduler() {
  reactor_.retire(bell_);
  current_ = nullptr;
}

Properties::~Properties() {
  // Boost comes back from an ended dispatcher to the thread's own context without asking pick_next().
  Scheduler* scheduler = Scheduler::current();
  if (scheduler != nullptr && is_dispatcher) scheduler->return_to_main(*this);
}

void Scheduler::return_to_main(Properties& from) noexcept {
  sanitizer::Strand::switch_to(from.strand, main_.strand);
  running_ = &main_;
}

Properties& Scheduler::properties(boost::fibers::context* context) {
  if (auto* known = context->get_properties()) return static_cast<Properties&>(*known);
  auto* made = new Properties(context);
  made->is_dispatcher = context->is_context(boost::fibers::type::dispatcher_context);
  if (current_ != nullptr) made->since = current_->now_;
  context->set_properties(made);
  return *made;
}

void Scheduler::read_clock() noexcept {
  // The counter first: a thread that loses its processor in between takes now_ for older than it is.
#if defined(__x86_64__)
  ticks_ = __builtin_ia32_rdtsc();
#endif
  now_ = std::chrono::steady_clock::now();
}

// Reading the clock would take a third of the time of a switch.
void Scheduler::read_clock_seldom() noexcept {
#if defined(__x86_64__)
  if (__builtin_ia32_rdtsc() - ticks_ < kTicksBetweenReads) return;
#endif
  read_clock();
}

Instant Scheduler::recent() noexcept {
  read_clock_seldom();
  return now_;
}

void Scheduler::awakened(boost::fibers::context* context) noexcept {
  Properties& fiber = properties(context);
  if (!fiber.is_dispatcher) return make_ready(fiber);
  fiber.phase = Properties::Phase::ready;
  fiber.since = now_;
  dispatcher_ = &fiber;
}

void Scheduler::make_ready(Properties& fiber) noexcept {
  read_clock_seldom();
  if (fiber.state.account && now_ > fiber.since)
    fiber.state.account->add_waiting(fiber.waiting_for, now_ - fiber.since);
  fiber.phase = Properties::Phase::ready;
  fiber.since = now_;
  ready_.push_back(fiber);
}

void Scheduler::start(Task& task) noexcept {
  read_clock_seldom();
  task.queued_ = now_;
  Heartbeat::add(heartbeat_->fibers, 1);
  ready_.push_back(task);
}

void Scheduler::start_at(Instant t, DelayedTask& delayed) {
  timers_.add(delayed, t);
  delayed_.push_back(delayed);
  Heartbeat::add(heartbeat_->fibers, 1);
  if (cancelling_) cancel_delayed();
}

void Scheduler::withdraw(DelayedTask& delayed) noexcept {
  timers_.remove(delayed);
  delayed_.erase(delayed_.iterator_to(delayed));
  one_less();
}

void Scheduler::cancel_delayed() noexcept {
  while (!delayed_.empty()) {
    Task& task = delayed_.front().task_;
    withdraw(delayed_.front());
    task.refused(std::make_exception_ptr(Cancelled("cancelled before its time")));
  }
}

void DelayedTask::on_time() noexcept {
  Scheduler& scheduler = *Scheduler::current();
  scheduler.withdraw(*this);
  scheduler.start(task_);
}

boost::fibers::context* Scheduler::pick_next() noexcept {
  Properties* next = hand_over(Properties::Phase::waiting);
  return next != nullptr ? next->context() : nullptr;
}

void Scheduler::suspend() noexcept {
  const Properties* fiber = running_;
  Properties* next = hand_over(Properties::Phase::waiting);
  if (next != fiber) next->context()->resume();
}

void Scheduler::yield() noexcept {
  Properties& fiber = *running_;
  ready_.push_back(fiber);
  Properties* next = hand_over(Properties::Phase::ready);
  if (next != &fiber) next->context()->resume();
}

// What the next context needs to be in order before the switch; null: nothing is ready, which only the dispatcher
// meets.
Properties* Scheduler::hand_over(Properties::Phase leaving_is) noexcept {
  Properties& leaving = *running_;
  leaving.saved_errno = errno;
  if (leaving.is_dispatcher) {
    take_turn();
  } else {
    read_clock_seldom();
    if (now_ - leaving.since >= long_run_) end_long_run(leaving);
  }
  Properties* next = choose();
  if (next == nullptr) return nullptr;
  if (next == &leaving) {
    // It was made ready again by a task that was refused.
    leaving.phase = Properties::Phase::running;
    return next;
  }
  leave(leaving, leaving_is);
  enter(*next);
  prefetch_next();
  if (!next->strand.knows_its_stack()) next->strand.runs_in_block_of(next->context());
  sanitizer::Strand::switch_to(leaving.strand, next->strand);
  running_ = next;
  errno = next->saved_errno;
  if (leaving.parked) {
    // What its tasks left below this frame.
    const auto& stack = static_cast<Worker&>(leaving).stack;
    std::byte* lowest = static_cast<std::byte*>(stack.sp) - stack.size;
    std::byte* frame = static_cast<std::byte*>(__builtin_frame_address(0));
    sanitizer::stack_is_free(lowest, static_cast<std::size_t>(frame - lowest));
  }
  return next;
}

bool Scheduler::dispatcher_is_due() const noexcept {
  return dispatcher_ != nullptr &&
         (ready_.empty() || switches_ >= kSwitchesPerTurn || now_ - turned_ >= kTurnAtLeastEvery);
}

Properties* Scheduler::choose() noexcept {
  while (!dispatcher_is_due()) {
    if (ready_.empty()) return nullptr;
    ++switches_;
    Runnable& next = ready_.pop_front();
    if (!next.is_task()) return static_cast<Properties*>(&next);
    if (Worker* worker = worker_for(static_cast<Task&>(next))) return worker;
  }
  switches_ = 0;
  return std::exchange(dispatcher_, nullptr);
}

// With hundreds of fibers that wait, what one of them needs is in no near cache any more. It comes while the one before
// runs; what is ready behind another one has time for it.
void Scheduler::prefetch_next() noexcept {
  if (ready_.empty()) return;
  const Runnable& next = ready_.front();
  if (next.is_task()) return prefetch(&next, kFirstOfTask);
  if (const void* frames = static_cast<const Properties&>(next).frames) prefetch(frames, kFirstFrames);
}

void Scheduler::leave(Properties& from, Properties::Phase is) noexcept {
  from.frames = __builtin_frame_address(0);
  if (from.state.account) from.state.account->running += now_ - from.since;
  from.phase = is;
  from.since = now_;
  from.waiting_for = from.state.upstream;
  const ExceptionGlobals& globals = exception_globals();
  from.caught_exceptions = globals.caught_exceptions;
  from.uncaught_exceptions = globals.uncaught_exceptions;
}

void Scheduler::enter(Properties& to) noexcept {
  const Duration delay = now_ - to.since;
  if (to.state.account) to.state.account->ready += delay;
  if (!to.is_dispatcher) tell_delay(delay);
  to.phase = Properties::Phase::running;
  to.since = now_;
  ExceptionGlobals& globals = exception_globals();
  globals.caught_exceptions = to.caught_exceptions;
  globals.uncaught_exceptions = to.uncaught_exceptions;
  operations_ = 0;
  beat(to);
}

void Scheduler::beat(const Properties& running) noexcept {
  Heartbeat::add(heartbeat_->switches, 1);
  heartbeat_->since.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
  heartbeat_->running.store(&running, std::memory_order_relaxed);
}

void Scheduler::tell_delay(Duration delay) noexcept {
  last_delay_ = delay;
  if (delay < kShortDelay) {
    ++short_delays_;
    short_delay_sum_ += delay;
  } else if (options_.run_delay) {
    options_.run_delay(delay, 1);
  }
}

void Scheduler::take_turn() noexcept {
  read_clock();
  turned_ = now_;
  if (short_delays_ != 0) {
    const auto count = static_cast<Duration::rep>(std::exchange(short_delays_, 0));
    const Duration sum = std::exchange(short_delay_sum_, Duration::zero());
    if (options_.run_delay) options_.run_delay(sum / count, static_cast<std::uint64_t>(count));
  }
  if (inbox_->take_flag()) {
    // Boost's own queue of what other threads made ready was looked at before this: look again before sleeping.
    sleep_allowed_ = false;
    for (Waiter* ended = inbox_->take_ended(); ended != nullptr;) {
      Waiter* next = ended->next_ended_;
      make_ready(*ended->fiber_);
      ended = next;
    }
    inbox_->run_posts();
  }
  timers_.expire(now_);
  if (!starved_.empty()) find_workers_for_starved();
  // With nothing ready, suspend_until() looks for events.
  if (!ready_.empty() && now_ - polled_ >= kPollAtLeastEvery) {
    polled_ = now_;
    reactor_.wait(Instant::min());
    reactor_.hand_out();
  }
}

void Scheduler::suspend_until(Instant const& until) noexcept {
  Instant at = std::min(until, timers_.next());
  if (!starved_.empty()) at = std::min(at, try_stacks_at_);
  const bool sleep = std::exchange(sleep_allowed_, true) && inbox_->fall_asleep();
  if (sleep) heartbeat_->running.store(nullptr, std::memory_order_relaxed);
  reactor_.wait(sleep ? at : Instant::min());
  inbox_->wake_up();
  // What is made ready from now on has not been ready while the thread slept.
  read_clock();
  beat(*running_);
  turned_ = polled_ = now_;
  reactor_.hand_out();
  timers_.expire(now_);
}

void Scheduler::settle_account(Properties& running) {
  read_clock_seldom();
  if (now_ - running.since >= long_run_) end_long_run(running);
  if (running.state.account) running.state.account->running += now_ - running.since;
  running.since = now_;
}

void Scheduler::breathe() {
  if (++operations_ >= kOperationsPerSwitch) penstock::yield();
}

void Scheduler::cancel_all() noexcept {
  cancelling_ = true;
  for (Properties& fiber : fibers_) cancel(fiber.state);
  cancel_delayed();
}

void Scheduler::finish() noexcept {
  finishing_ = true;
  if (server_ != nullptr) server_->notify();
}

void Scheduler::serve() {
  const auto none_left = [this] { return heartbeat_->fibers.load(std::memory_order_relaxed) == 0; };
  while (!(finishing_ && none_left() && inbox_->close())) {
    Waiter waiter("its fibers to end");
    server_ = &waiter;
    // With posts still to be run, come back after them.
    if (finishing_ && none_left()) {
      waiter.wait(now_ + std::chrono::milliseconds(1));
    } else {
      waiter.wait();
    }
    server_ = nullptr;
  }
  // The youngest first: it may use the older ones.
  while (!kept_.empty()) kept_.pop_back();
  end_workers(parked_count_);
}

}  // namespace penstock::fiber
