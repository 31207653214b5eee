#include <pthread.h>

#include <cerrno>
#include <mutex>

#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program_thread.h"

PENSTOCK_REAL(pthread_cancel)
PENSTOCK_REAL(pthread_setcancelstate)
PENSTOCK_REAL(pthread_setcanceltype)
PENSTOCK_REAL(pthread_testcancel)

namespace penstock::interpose {

void test_cancel() {
  ProgramThread* thread = ProgramThread::current();
  if (thread != nullptr && thread->cancel_is_due()) thread->exit(PTHREAD_CANCELED);
}

bool Cancellable::begin(Parking& parking) noexcept {
  if (thread_ == nullptr) return true;
  const std::lock_guard guard(thread_->lock_);
  const bool may_end = by_ == By::cancellation || thread_->cancellation.asynchronous;
  if ((may_end && thread_->cancel_is_due()) || thread_->has_signals()) return false;
  thread_->cancellable_ = &parking;
  return true;
}

void Cancellable::end() noexcept {
  if (thread_ == nullptr) return;
  const std::lock_guard guard(thread_->lock_);
  thread_->cancellable_ = nullptr;
}

bool Cancellable::act() { return thread_ != nullptr && !thread_->act_on_interruption(); }

bool Cancellable::act_while_locking() noexcept {
  if (thread_ == nullptr) return true;
  thread_->handle_signals();
  return !(thread_->cancellation.asynchronous && thread_->cancel_is_due());
}

}  // namespace penstock::interpose

using namespace penstock::interpose;

PENSTOCK_INTERPOSED int pthread_cancel(pthread_t handle) {
  ProgramThread* thread = ProgramThread::of(handle);
  if (thread == nullptr) return real::pthread_cancel(handle);
  const int error = thread->cancel();
  if (error == 0 && thread == ProgramThread::current() && thread->cancellation.asynchronous) test_cancel();
  return error;
}

PENSTOCK_INTERPOSED int pthread_setcancelstate(int state, int* old) {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) return real::pthread_setcancelstate(state, old);
  if (state != PTHREAD_CANCEL_ENABLE && state != PTHREAD_CANCEL_DISABLE) return EINVAL;
  if (old != nullptr) *old = thread->cancellation.enabled ? PTHREAD_CANCEL_ENABLE : PTHREAD_CANCEL_DISABLE;
  thread->cancellation.enabled = state == PTHREAD_CANCEL_ENABLE;
  thread->look_for_interruptions();
  if (thread->cancellation.asynchronous) test_cancel();
  return 0;
}

PENSTOCK_INTERPOSED int pthread_setcanceltype(int type, int* old) {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) return real::pthread_setcanceltype(type, old);
  if (type != PTHREAD_CANCEL_ASYNCHRONOUS && type != PTHREAD_CANCEL_DEFERRED) return EINVAL;
  if (old != nullptr) {
    *old = thread->cancellation.asynchronous ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED;
  }
  thread->cancellation.asynchronous = type == PTHREAD_CANCEL_ASYNCHRONOUS;
  if (thread->cancellation.asynchronous) test_cancel();
  return 0;
}

PENSTOCK_INTERPOSED void pthread_testcancel() {
  if (ProgramThread::current() == nullptr) return real::pthread_testcancel();
  test_cancel();
}
