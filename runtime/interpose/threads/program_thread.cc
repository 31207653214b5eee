#include "runtime/interpose/threads/program_thread.h"

#include <setjmp.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>

#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/stack_arena.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/signals.h"
#include "runtime/interpose/threads/thread_slots.h"
#include "runtime/interpose/threads/unwind.h"

PENSTOCK_REAL(pthread_self)
PENSTOCK_REAL(pthread_getattr_np)

namespace penstock::interpose {
namespace {

struct Counts {
  std::atomic<std::uint64_t> made{0};
  std::atomic<std::uint64_t> alive{0};
  std::atomic<std::uint64_t> most{0};
};
constinit Counts counts;

// The thread that runs the first scheduler; null: there is none yet.
constinit std::atomic<ProgramThread*> first{nullptr};
alignas(ProgramThread) constinit std::byte place_of_first[ThreadSlots::kBytes];
// In a forked child: who called fork().
constinit thread_local ProgramThread* forked = nullptr;

// What the fiber's own frames take of its stack, besides the program's.
constexpr std::size_t kOwnFrames = 4096;

void count_end() noexcept {
  if (counts.alive.fetch_sub(1, std::memory_order_relaxed) != 1) return;
  ParkingLock lock(&counts);
  lock.wake_up_to(SIZE_MAX);
}

}  // namespace

constinit std::atomic<bool> ProgramThread::any_{false};

ProgramThread* ProgramThread::find_current() noexcept {
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler == nullptr) return forked;
  fiber::Properties& running = scheduler->running();
  fiber::Task* task = running.state.task;
  if (ThreadSlots::contains(task)) return static_cast<ProgramThread*>(task);
  if (&running != &scheduler->main()) return nullptr;
  ProgramThread* adopted = first.load(std::memory_order_relaxed);
  return adopted != nullptr && adopted->plain_handle_ == real::pthread_self() ? adopted : nullptr;
}

ProgramThread* ProgramThread::find(pthread_t handle) noexcept {
  auto* slot = reinterpret_cast<ProgramThread*>(handle);
  if (ThreadSlots::contains(slot)) return slot;
  ProgramThread* adopted = first.load(std::memory_order_acquire);
  return adopted != nullptr && adopted->plain_handle_ == handle ? adopted : nullptr;
}

ProgramThread* ProgramThread::first_one() noexcept { return first.load(std::memory_order_acquire); }

ProgramThread* ProgramThread::run_by(const fiber::FiberState& fiber) noexcept {
  return ThreadSlots::contains(fiber.task) ? static_cast<ProgramThread*>(fiber.task) : nullptr;
}

pthread_t ProgramThread::handle() const noexcept {
  return is_first_ ? plain_handle_ : reinterpret_cast<pthread_t>(this);
}

void ProgramThread::adopt_caller() noexcept {
  static_assert(sizeof(ProgramThread) <= ThreadSlots::kBytes);
  auto* adopted = new (place_of_first) ProgramThread(0, nullptr, nullptr);
  adopted->is_first_ = true;
  adopted->plain_handle_ = real::pthread_self();
  adopted->home_ = fiber::Scheduler::current()->inbox();
  adopted->fiber_.store(&fiber::Scheduler::current()->main().state, std::memory_order_relaxed);
  first.store(adopted, std::memory_order_release);
  any_.store(true, std::memory_order_release);
}

void ProgramThread::begin_child(ProgramThread* caller) noexcept {
  forked = caller;
  counts.alive.store(0, std::memory_order_relaxed);
}

int ProgramThread::create(const std::shared_ptr<fiber::Inbox>& home, const pthread_attr_t* attributes,
                          void* (*start)(void*), void* argument, pthread_t* created) noexcept {
  pthread_attr_t defaults;
  if (attributes == nullptr) {
    if (::pthread_getattr_default_np(&defaults) != 0) return EAGAIN;
    attributes = &defaults;
  }
  std::size_t stack_bytes = 0;
  int detached = PTHREAD_CREATE_JOINABLE;
  ::pthread_attr_getstacksize(attributes, &stack_bytes);
  ::pthread_attr_getdetachstate(attributes, &detached);
  if (attributes == &defaults) ::pthread_attr_destroy(&defaults);

  void* slot = ThreadSlots::take();
  if (slot == nullptr) return EAGAIN;
  auto* thread = new (slot) ProgramThread(stack_bytes + kOwnFrames, start, argument);
  thread->home_ = home;
  if (const ProgramThread* maker = current()) thread->blocked = maker->blocked;
  if (detached == PTHREAD_CREATE_DETACHED) thread->state_.store(State::detached, std::memory_order_relaxed);
  counts.made.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t alive = counts.alive.fetch_add(1, std::memory_order_relaxed) + 1;
  std::uint64_t most = counts.most.load(std::memory_order_relaxed);
  while (alive > most && !counts.most.compare_exchange_weak(most, alive, std::memory_order_relaxed)) {
  }
  *created = thread->handle();
  fiber::Scheduler* here = fiber::Scheduler::current();
  if (here != nullptr && here->inbox() == home) {
    begin_mask(thread->blocked);
    here->start(*thread);
    return 0;
  }
  bool posted = false;
  try {
    posted = home->post([thread] {
      begin_mask(thread->blocked);
      fiber::Scheduler::current()->start(*thread);
    });
  } catch (const std::bad_alloc&) {
  }
  if (posted) return 0;
  count_end();
  thread->give_back();
  return EAGAIN;
}

void ProgramThread::run() noexcept {
  fiber::Scheduler& scheduler = *fiber::Scheduler::current();
  fiber_.store(&scheduler.running().state, std::memory_order_release);
  look_for_interruptions();
  run_to_exit();
  leave();
  fiber_.store(nullptr, std::memory_order_relaxed);
  end_mask(blocked);
  scheduler.end_task(scheduler.running());
  end();
}

// Apart, so that what exit() jumps back into has nothing that a jump could leave undone.
[[gnu::noinline]] void ProgramThread::run_to_exit() noexcept {
  stack_ = fiber::StackArena::find(__builtin_frame_address(0));
  __pthread_unwind_buf_t base{};
  cleanups = &base;
  if (::__sigsetjmp_cancel(base.__cancel_jmp_buf, 0) == 0) result_ = start_(argument_);
  cleanups = nullptr;
}

void ProgramThread::destroy_thread_data() noexcept {
  while (AtExit* last = at_exit) {
    at_exit = last->next;
    last->destroy(last->object);
    delete last;
  }
}

void ProgramThread::leave() noexcept {
  exiting_ = true;
  destroy_thread_data();
  specific.destroy();
}

void ProgramThread::end() noexcept {
  count_end();
  ParkingLock lock(this);
  State before = State::joinable;
  if (!state_.compare_exchange_strong(before, State::ended, std::memory_order_acq_rel)) {
    // Detached: nobody waits.
    give_back();
    return;
  }
  lock.wake_up_to(SIZE_MAX);
}

void ProgramThread::give_back() noexcept {
  if (is_first_) return;
  state_.store(State::unused, std::memory_order_release);
  this->~ProgramThread();
  ThreadSlots::give_back(this);
}

void ProgramThread::refused(std::exception_ptr) noexcept {
  // pthread_create() has long returned: as if it had ended at once, but for the log's line of the scheduler.
  result_ = PTHREAD_CANCELED;
  end_mask(blocked);
  end();
}

void ProgramThread::exit(void* result) {
  result_ = result;
  exiting_ = true;
  unwind_thread(*this);
}

void ProgramThread::end_first() {
  leave();
  {
    ParkingLock lock(this);
    State before = State::joinable;
    state_.compare_exchange_strong(before, State::ended, std::memory_order_acq_rel);
    lock.wake_up_to(SIZE_MAX);
  }
  // The process goes on as long as a thread does.
  for (;;) {
    Parking parking(&counts, "the last thread to end");
    {
      ParkingLock lock(&counts);
      if (counts.alive.load(std::memory_order_relaxed) == 0) break;
      parking.join(lock);
    }
    parking.wait(Instant::max());
  }
  std::exit(0);
}

int ProgramThread::try_join(void** result) noexcept {
  if (this == current()) return EDEADLK;
  switch (state_.load(std::memory_order_acquire)) {
    case State::unused:
    case State::joined:
      return ESRCH;
    case State::detached:
      return EINVAL;
    case State::joinable:
      return EBUSY;
    case State::ended:
      break;
  }
  State ended = State::ended;
  if (!state_.compare_exchange_strong(ended, State::joined, std::memory_order_acq_rel)) return EINVAL;
  if (result != nullptr) *result = result_;
  {
    // Who woke the joiner has let go of it.
    const ParkingLock lock(this);
  }
  give_back();
  return 0;
}

int ProgramThread::join(void** result, Instant until) {
  test_cancel();
  int error = try_join(result);
  if (error != EBUSY) return error;
  if (joining_.exchange(true, std::memory_order_acq_rel)) return EINVAL;
  Cancellable cancellable;
  while (error == EBUSY) {
    Parking parking(this, "a thread to end");
    Parking::End end = Parking::End::interrupted;
    if (cancellable.begin(parking)) {
      bool joined = false;
      {
        ParkingLock lock(this);
        if (state_.load(std::memory_order_relaxed) == State::joinable) {
          parking.join(lock);
          joined = true;
        }
      }
      end = joined ? parking.wait(until) : Parking::End::woken;
      cancellable.end();
    }
    if (end == Parking::End::interrupted) {
      joining_.store(false, std::memory_order_release);
      cancellable.act();
      joining_.store(true, std::memory_order_release);
    }
    error = try_join(result);
    if (error == EBUSY && end == Parking::End::timed_out) {
      joining_.store(false, std::memory_order_release);
      return ETIMEDOUT;
    }
  }
  return error;
}

int ProgramThread::detach() noexcept {
  State before = State::joinable;
  {
    const ParkingLock lock(this);
    if (state_.compare_exchange_strong(before, State::detached, std::memory_order_acq_rel)) return 0;
  }
  if (before == State::detached) return EINVAL;
  return try_join(nullptr);
}

int ProgramThread::set_name(const char* name) noexcept {
  if (std::strlen(name) >= name_.size()) return ERANGE;
  std::strncpy(name_.data(), name, name_.size());
  return 0;
}

void ProgramThread::name(char (&name)[16]) const noexcept { std::memcpy(name, name_.data(), sizeof name); }

void ProgramThread::describe(fiber::TaskName& name) const noexcept {
  name += name_[0] != '\0' ? name_.data() : "thread";
}

int ProgramThread::attributes(pthread_attr_t* into) const noexcept {
  const int error = ::pthread_attr_init(into);
  if (error != 0) return error;
  const State state = state_.load(std::memory_order_acquire);
  ::pthread_attr_setdetachstate(into, state == State::detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
  // Its own frames are on it.
  if (const fiber::StackPlace place = stack_; place.lowest != nullptr) {
    return ::pthread_attr_setstack(into, place.lowest, place.bytes);
  }
  return ::pthread_attr_setstacksize(into, stack_bytes_);
}

std::uint64_t ProgramThread::made() noexcept { return counts.made.load(std::memory_order_relaxed); }
std::uint64_t ProgramThread::alive() noexcept { return counts.alive.load(std::memory_order_relaxed); }
std::uint64_t ProgramThread::most_alive() noexcept { return counts.most.load(std::memory_order_relaxed); }

}  // namespace penstock::interpose
