#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <new>
#include <string>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"

// The half of Scheduler that gives tasks their stacks.
namespace penstock::fiber {
namespace {

// Workers that are kept without a task, with the memory of their stacks.
constexpr std::size_t kHotWorkers = 1024;
// More of them end when they had no task for so long,
constexpr auto kSurplusAfter = std::chrono::seconds(1);
// so many at a time (each takes some 5 us), so often.
constexpr std::size_t kEndedAtOnce = 64;
constexpr auto kEndedEvery = std::chrono::milliseconds(2);
// How long a task waits for a stack.
constexpr auto kPatience = std::chrono::seconds(1);
// A system that refuses memory is not asked again at once.
constexpr auto kTryAgainAfter = std::chrono::milliseconds(10);
constexpr auto kComplainEvery = std::chrono::seconds(1);
constexpr std::size_t kCacheLine = 64;

// Stands for a task that has returned from run(), and may be gone.
class EndedTask final : public Task {
 public:
  void run() noexcept override {}
  void describe(TaskName& name) const noexcept override { name += "(ended)"; }
  void refused(std::exception_ptr) noexcept override {}
};
EndedTask ended_task;

}  // namespace

void Scheduler::begin(Worker& worker, Task& task) noexcept {
  FiberState& state = worker.state;
  state.task = &task;
  state.id = ++last_id_;
  state.started = now_;
  state.cancelled = cancelling_;
  fibers_.push_back(worker);
  if constexpr (sanitizer::kNamesStrands) {
    TaskName name;
    task.describe(name);
    worker.strand.named(std::string(name.view()));
  }
}

void Scheduler::end_task(Properties& worker) noexcept {
  FiberState& state = worker.state;
  if (state.task == nullptr) return;
  read_clock_seldom();
  if (now_ - worker.since >= long_run_) end_long_run(worker);
  if (state.account) {
    settle_account(worker);
    state.account.reset();
  }
  state.task = nullptr;
  state.id = 0;
  state.deadline = Instant::max();
  state.cancelled = false;
  state.shields = 0;
  state.upstream = nullptr;
  fibers_.erase(fibers_.iterator_to(worker));
  one_less();
}

void Scheduler::one_less() noexcept {
  const std::uint64_t left = heartbeat_->fibers.load(std::memory_order_relaxed) - 1;
  heartbeat_->fibers.store(left, std::memory_order_release);
  if (finishing_ && left == 0 && server_ != nullptr) server_->notify();
}

void Scheduler::work(Worker& worker) noexcept {
  while (worker.state.task != nullptr) {
    worker.state.task->run();
    if (worker.state.task != nullptr) worker.state.task = &ended_task;
    end_task(worker);
    if (worker.for_one_task) break;
    if (next_in_place(worker)) continue;
    park(worker);
  }
  --workers_;
}

bool Scheduler::next_in_place(Worker& worker) noexcept {
  if (dispatcher_is_due() || ready_.empty() || !ready_.front().is_task() || !starved_.empty()) return false;
  Task& task = static_cast<Task&>(ready_.front());
  if (!fits(task)) return false;
  ready_.pop_front();
  ++switches_;
  read_clock_seldom();
  begin(worker, task);
  tell_delay(now_ - task.queued_);
  worker.since = now_;
  operations_ = 0;
  beat(worker);
  prefetch_next();
  errno = 0;
  return true;
}

void Scheduler::park(Worker& worker) noexcept {
  worker.parked = true;
  worker.next_parked = parked_;
  parked_ = &worker;
  if (++parked_count_ > kHotWorkers && !surplus_.is_set) watch_surplus();
  suspend();
}

Worker* Scheduler::unpark() noexcept {
  Worker* worker = parked_;
  if (worker == nullptr) return nullptr;
  parked_ = worker->next_parked;
  surplus_.least = std::min(surplus_.least, --parked_count_);
  worker->parked = false;
  sanitizer::stack_is_used(static_cast<std::byte*>(worker->stack.sp) - worker->stack.size, worker->stack.size);
  worker->saved_errno = 0;
  return worker;
}

bool Scheduler::fits(const Task& task) const noexcept {
  return task.stack_bytes_ == 0 || task.stack_bytes_ == options_.stack_bytes;
}

// Null: there is neither a parked one nor, if it may be made, memory for one.
Worker* Scheduler::find_worker(const Task& task, bool may_make) noexcept {
  const bool fitting = fits(task);
  Worker* worker = fitting ? unpark() : nullptr;
  return worker != nullptr || !may_make ? worker : make_worker(fitting ? 0 : task.stack_bytes_);
}

Worker* Scheduler::worker_for(Task& task) noexcept {
  Worker* worker = starved_.empty() ? find_worker(task, true) : nullptr;
  if (worker == nullptr) {
    if (workers_ == 0) {
      refuse(task);
    } else {
      starved_.push_back(task);
    }
    return nullptr;
  }
  begin(*worker, task);
  worker->since = task.queued_;
  return worker;
}

void Scheduler::find_workers_for_starved() noexcept {
  while (!starved_.empty()) {
    Task& task = static_cast<Task&>(starved_.front());
    Worker* worker = find_worker(task, now_ >= try_stacks_at_);
    if (worker != nullptr) {
      starved_.pop_front();
      begin(*worker, task);
      worker->since = task.queued_;
      worker->phase = Properties::Phase::ready;
      ready_.push_back(*worker);
    } else if (workers_ == 0 || now_ - task.queued_ >= kPatience) {
      starved_.pop_front();
      refuse(task);
    } else {
      return;
    }
  }
}

void Scheduler::refuse(Task& task) noexcept {
  Heartbeat::add(heartbeat_->refused, 1);
  if (now_ >= complain_at_) {
    complain_at_ = now_ + kComplainEvery;
    const PlainCalls plain;
    TaskName name;
    task.describe(name);
    spdlog::error("no stack for fiber '{}': it is refused, as {} were before on this thread", name.view(),
                  heartbeat_->refused.load(std::memory_order_relaxed) - 1);
  }
  task.refused(std::make_exception_ptr(std::bad_alloc()));
  one_less();
}

StackCache& Scheduler::stacks_of(std::size_t stack_bytes) {
  if (stack_bytes == 0) return stacks_;
  return other_stacks_.try_emplace(stack_bytes, stack_bytes).first->second;
}

Worker* Scheduler::make_worker(std::size_t stack_bytes) noexcept {
  // The arena's lock and what is made once are shared with other threads: a wait for them must not switch fibers here.
  const PlainCalls plain;
  try {
    StackCache& stacks = stacks_of(stack_bytes);
    const boost::context::stack_context stack = stacks.allocate();
    const auto top = reinterpret_cast<std::uintptr_t>(stack.sp);
    const std::uintptr_t place = (top - sizeof(Worker)) / kCacheLine * kCacheLine;
    auto* worker = new (reinterpret_cast<void*>(place)) Worker(stack);
    worker->for_one_task = stack_bytes != 0;
    boost::context::stack_context rest = stack;
    rest.sp = worker;
    rest.size -= top - place;
    // Its stack was its only allocation: nothing throws any more.
    const auto context = boost::fibers::make_worker_context_with_properties(
        boost::fibers::launch::post, worker, StackAllocator(stacks, rest), [this, worker] { work(*worker); });
    boost::fibers::context::active()->attach(context.get());
    ++workers_;
    return worker;
  } catch (const std::bad_alloc&) {
    try_stacks_at_ = now_ + kTryAgainAfter;
    return nullptr;
  }
}

const Worker* Scheduler::running_at(const void* address) const noexcept {
  const StackPlace place = StackArena::find(address);
  const auto running = reinterpret_cast<std::uintptr_t>(running_);
  const auto lowest = reinterpret_cast<std::uintptr_t>(place.lowest);
  // Only a worker lies in a stack of the arena: its own.
  if (place.lowest == nullptr || running - lowest >= place.bytes) return nullptr;
  return static_cast<const Worker*>(running_);
}

void Scheduler::watch_surplus() noexcept {
  surplus_.least = parked_count_;
  set_surplus(kSurplusAfter);
}

void Scheduler::set_surplus(Duration after) noexcept {
  try {
    timers_.add(surplus_, now_ + after);
    surplus_.is_set = true;
  } catch (const std::bad_alloc&) {
    // The next worker that parks sets it.
  }
}

void Scheduler::Surplus::on_time() noexcept {
  is_set = false;
  scheduler_.end_surplus_workers();
}

// Those that were not needed since the timer was first set; the others have another such time.
void Scheduler::end_surplus_workers() noexcept {
  if (surplus_.least > kHotWorkers) {
    end_workers(std::min(surplus_.least - kHotWorkers, kEndedAtOnce));
    set_surplus(kEndedEvery);
  } else if (parked_count_ > kHotWorkers) {
    watch_surplus();
  }
}

void Scheduler::end_workers(std::size_t many) noexcept {
  for (; many != 0; --many) make_ready(*unpark());
}

}  // namespace penstock::fiber
