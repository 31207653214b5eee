#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>
#include <utility>

#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/fd_watch.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signals.h"

// How a thread of a program is interrupted: by a signal, or to be cancelled. Its fiber then counts as cancelled until
// it has acted on that, which ends its waits for descriptors and time; waits of pthread are ended as parkings.
namespace penstock::interpose {
namespace {

Ended after_wait() noexcept {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) return Ended::cancelled;
  const bool goes_on = thread->handle_signals();
  // It ends at its next call: what is between here and there is C++ that has promised to throw nothing.
  return goes_on && !thread->cancel_is_due() ? Ended::restarted : Ended::interrupted;
}

void before_call() {
  if (ProgramThread* thread = ProgramThread::current()) thread->act_on_interruption();
}

[[gnu::constructor]] void install() {
  after_cancelled_wait.store(after_wait);
  before_interrupted_call.store(before_call);
}

}  // namespace

void ProgramThread::interrupt() noexcept {
  fiber::FiberState* fiber = fiber_.load(std::memory_order_acquire);
  if (fiber == nullptr) return;
  fiber::cancel(*fiber);
  const std::lock_guard guard(lock_);
  if (cancellable_ != nullptr) cancellable_->interrupt();
}

bool ProgramThread::has_signals() const noexcept {
  return std::any_of(signals_.begin(), signals_.end(),
                     [this](const Signal& signal) { return ::sigismember(&blocked, signal.number) == 0; });
}

void ProgramThread::look_for_interruptions() noexcept {
  fiber::FiberState* fiber = fiber_.load(std::memory_order_relaxed);
  if (fiber != nullptr) fiber->cancelled = cancel_is_due() || has_signals();
}

void ProgramThread::take_signal(int number, const siginfo_t& info) noexcept {
  try {
    signals_.push_back({number, info});
  } catch (const std::bad_alloc&) {
    return;
  }
  if (::sigismember(&blocked, number) == 0) interrupt();
}

int ProgramThread::send_signal(int number, const siginfo_t& info) noexcept {
  fiber::Scheduler* here = fiber::Scheduler::current();
  if (here != nullptr && here->inbox() == home_) {
    take_signal(number, info);
    if (this == current()) handle_signals();
    return 0;
  }
  try {
    home_->post([this, number, info] {
      if (!ended()) take_signal(number, info);
    });
  } catch (const std::bad_alloc&) {
    return EAGAIN;
  }
  return 0;
}

int ProgramThread::take_pending(const sigset_t& set, siginfo_t* info) noexcept {
  const auto found = std::find_if(signals_.begin(), signals_.end(),
                                  [&set](const Signal& signal) { return ::sigismember(&set, signal.number) == 1; });
  if (found == signals_.end()) return 0;
  const Signal signal = *found;
  signals_.erase(found);
  if (info != nullptr) *info = signal.info;
  return signal.number;
}

void ProgramThread::add_pending(sigset_t& set) const noexcept {
  for (const Signal& signal : signals_) {
    if (::sigismember(&blocked, signal.number) == 1) ::sigaddset(&set, signal.number);
  }
}

bool ProgramThread::handle_signals() noexcept {
  bool goes_on = true;
  for (;;) {
    const auto next = std::find_if(signals_.begin(), signals_.end(), [this](const Signal& signal) {
      return ::sigismember(&blocked, signal.number) == 0;
    });
    if (next == signals_.end()) break;
    Signal signal = *next;
    signals_.erase(next);
    // The handler may call what waits.
    look_for_interruptions();
    ++signals_handled;
    if (!interpose::handle(signal.number, signal.info)) goes_on = false;
  }
  look_for_interruptions();
  return goes_on;
}

bool ProgramThread::act_on_interruption() {
  const bool goes_on = handle_signals();
  test_cancel();
  return goes_on;
}

int ProgramThread::cancel() noexcept {
  const State state = state_.load(std::memory_order_acquire);
  if (state == State::unused || state == State::joined) return ESRCH;
  if (state >= State::ended) return 0;
  cancelled_.store(true, std::memory_order_release);
  if (!cancellation.enabled.load(std::memory_order_relaxed)) return 0;
  fiber::Scheduler* here = fiber::Scheduler::current();
  if (here != nullptr && here->inbox() == home_) {
    interrupt();
    return 0;
  }
  try {
    home_->post([this] {
      if (state_.load(std::memory_order_acquire) < State::ended && cancel_is_due()) interrupt();
    });
  } catch (const std::bad_alloc&) {
    return EAGAIN;
  }
  return 0;
}

}  // namespace penstock::interpose
