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

// The bound on how long I/O waits behind fibers that are always ready.
constexpr int kSwitchesPerTurn = 61;
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
      fiber_count_(std::make_shared<std::atomic<std::uint64_t>>(0)),
      main_(active()),
      stacks_(options_.stack_bytes),
      now_(std::chrono::steady_clock::now()) {
  if (current_ != nullptr) std::terminate();
  auto bell = std::make_unique<Bell>(inbox_->event_fd());
  reactor_.add(*bell, EPOLLIN | EPOLLET);
  bell_ = bell.release();
  current_ = this;
  main_.phase = Properties::Phase::running;
  main_.since = now_;
  main_.state.name = "main";
}

Scheduler::~Scheduler() {
  reactor_.retire(bell_);
  current_ = nullptr;
}

Properties::~Properties() {
  // Boost comes back from an ended dispatcher to the thread's own context without asking pick_next().
  Scheduler* scheduler = Scheduler::current();
  if (scheduler != nullptr && ctx_->is_context(boost::fibers::type::dispatcher_context)) {
    sanitizer::Strand::switch_to(strand, scheduler->main().strand, "");
  }
}

Properties& Scheduler::properties(boost::fibers::context* context) {
  if (auto* known = context->get_properties()) return static_cast<Properties&>(*known);
  auto* made = new Properties(context);
  if (current_ != nullptr) made->since = current_->now_;
  context->set_properties(made);
  return *made;
}

void Scheduler::read_clock() noexcept { now_ = std::chrono::steady_clock::now(); }

void Scheduler::awakened(boost::fibers::context* context) noexcept {
  Properties& fiber = properties(context);
  if (fiber.state.account && fiber.phase == Properties::Phase::waiting && now_ > fiber.since) {
    fiber.state.account->add_waiting(fiber.waiting_for, now_ - fiber.since);
  }
  fiber.phase = Properties::Phase::ready;
  fiber.since = now_;
  if (context->is_context(boost::fibers::type::dispatcher_context)) {
    dispatcher_ = context;
    if (fiber.state.name.empty()) fiber.state.name = "dispatcher";
  } else {
    context->ready_link(ready_);
  }
}

boost::fibers::context* Scheduler::pick_next() noexcept {
  Properties& leaving = active();
  leaving.saved_errno = errno;
  boost::fibers::context* next = choose(leaving.context());
  if (next == nullptr) return nullptr;
  Properties& entering = properties(next);
  leave(leaving);
  enter(entering);
  if (!entering.strand.knows_its_stack()) entering.strand.runs_in_block_of(next);
  sanitizer::Strand::switch_to(leaving.strand, entering.strand, entering.state.name.c_str());
  errno = entering.saved_errno;
  return next;
}

boost::fibers::context* Scheduler::choose(boost::fibers::context* from) noexcept {
  read_clock();
  if (from->is_context(boost::fibers::type::dispatcher_context)) take_turn();

  boost::fibers::context* next;
  if (dispatcher_ != nullptr && (ready_.empty() || ++switches_ >= kSwitchesPerTurn)) {
    switches_ = 0;
    next = std::exchange(dispatcher_, nullptr);
  } else if (!ready_.empty()) {
    next = &ready_.front();
    ready_.pop_front();
  } else {
    return nullptr;
  }
  return next;
}

// The context that is left is waiting from now on; one that yields is made ready right after the switch.
void Scheduler::leave(Properties& from) noexcept {
  if (from.state.account) from.state.account->running += now_ - from.since;
  from.phase = Properties::Phase::waiting;
  from.since = now_;
  from.waiting_for = from.state.upstream;
  const ExceptionGlobals& globals = exception_globals();
  from.caught_exceptions = globals.caught_exceptions;
  from.uncaught_exceptions = globals.uncaught_exceptions;
}

void Scheduler::enter(Properties& to) noexcept {
  const Duration delay = now_ - to.since;
  if (to.state.account) to.state.account->ready += delay;
  if (options_.run_delay && !to.context()->is_context(boost::fibers::type::dispatcher_context)) {
    options_.run_delay(delay);
  }
  to.phase = Properties::Phase::running;
  to.since = now_;
  ExceptionGlobals& globals = exception_globals();
  globals.caught_exceptions = to.caught_exceptions;
  globals.uncaught_exceptions = to.uncaught_exceptions;
  operations_ = 0;
}

void Scheduler::take_turn() noexcept {
  if (inbox_->take_flag()) {
    // Boost's own queue of what other threads made ready was looked at before this: look again before sleeping.
    sleep_allowed_ = false;
    for (Waiter* ended = inbox_->take_ended(); ended != nullptr;) {
      Waiter* next = ended->next_ended_;
      make_ready(ended->context_);
      ended = next;
    }
    inbox_->run_posts();
  }
  timers_.expire(now_);
  // With nothing ready, suspend_until() looks for events.
  if (!ready_.empty() && now_ - polled_ >= kPollAtLeastEvery) {
    reactor_.poll(Instant::min());
    read_clock();
    polled_ = now_;
  }
}

void Scheduler::suspend_until(Instant const& until) noexcept {
  const bool sleep = std::exchange(sleep_allowed_, true) && inbox_->fall_asleep();
  reactor_.poll(sleep ? std::min(until, timers_.next()) : Instant::min());
  inbox_->wake_up();
  read_clock();
  polled_ = now_;
  timers_.expire(now_);
}

void Scheduler::settle_account(Properties& running) {
  const Instant now = std::max(now_, Instant(std::chrono::steady_clock::now()));
  now_ = now;
  if (running.state.account) running.state.account->running += now - running.since;
  running.since = now;
}

void Scheduler::suspend() noexcept { boost::fibers::context::active()->suspend(); }

void Scheduler::breathe() {
  if (++operations_ >= kOperationsPerSwitch) yield();
}

void Scheduler::enlist(Properties& fiber) noexcept {
  fibers_.push_back(fiber);
  fiber_count_->fetch_add(1, std::memory_order_relaxed);
  if (cancelling_) fiber.state.cancelled = true;
}

void Scheduler::delist(Properties& fiber) noexcept {
  fibers_.erase(fibers_.iterator_to(fiber));
  fiber_count_->fetch_sub(1, std::memory_order_release);
  if (finishing_ && fibers_.empty() && server_ != nullptr) server_->notify();
}

void Scheduler::cancel_all() noexcept {
  cancelling_ = true;
  for (Properties& fiber : fibers_) cancel(fiber.state);
}

void Scheduler::finish() noexcept {
  finishing_ = true;
  if (server_ != nullptr) server_->notify();
}

void Scheduler::serve() {
  while (!(finishing_ && fibers_.empty() && inbox_->close())) {
    Waiter waiter("its fibers to end");
    server_ = &waiter;
    // With posts still to be run, come back after them.
    if (finishing_ && fibers_.empty()) {
      waiter.wait(now_ + std::chrono::milliseconds(1));
    } else {
      waiter.wait();
    }
    server_ = nullptr;
  }
  // The youngest first: it may use the older ones.
  while (!kept_.empty()) kept_.pop_back();
}

// Free functions of fiber_state.h.

FiberState& current() {
  if (Scheduler::current() == nullptr) std::terminate();
  return Scheduler::active().state;
}

bool on_fiber() noexcept {
  return Scheduler::current() != nullptr &&
         !boost::fibers::context::active()->is_context(boost::fibers::type::dispatcher_context);
}

Instant cached_now() noexcept {
  Scheduler* scheduler = Scheduler::current();
  return scheduler != nullptr ? scheduler->now() : std::chrono::steady_clock::now();
}

unsigned thread_index() noexcept {
  Scheduler* scheduler = Scheduler::current();
  return scheduler != nullptr ? scheduler->index() : 0;
}

void set_account(std::shared_ptr<RequestAccount> account) {
  Properties& fiber = Scheduler::active();
  Scheduler::current()->settle_account(fiber);
  fiber.state.account = std::move(account);
}

void cancel(FiberState& state) noexcept {
  state.cancelled = true;
  if (state.waiter != nullptr && state.shields == 0) state.waiter->end(Wake::cancelled);
}

void RequestAccount::add_waiting(const std::string* upstream, Duration d) {
  for (auto& [name, sum] : waiting) {
    if (name == upstream) {
      sum += d;
      return;
    }
  }
  waiting.emplace_back(upstream, d);
}

}  // namespace penstock::fiber
