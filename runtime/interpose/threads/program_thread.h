#pragma once

#include <pthread.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "penstock/spin_lock.h"
#include "runtime/fiber/inbox.h"
#include "runtime/fiber/stack_arena.h"
#include "runtime/fiber/task.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/thread_data.h"

namespace penstock::interpose {

struct HandlerRun;

// The values that a thread of the program has for the keys of pthread_key_create().
class SpecificValues {
 public:
  SpecificValues() = default;
  ~SpecificValues();
  SpecificValues(const SpecificValues&) = delete;
  SpecificValues& operator=(const SpecificValues&) = delete;

  void* get(pthread_key_t key) noexcept;
  // 0 or an error number.
  int set(pthread_key_t key, const void* value) noexcept;
  // As at the end of a thread: again while destructors set new ones, but not for ever.
  void destroy() noexcept;

 private:
  struct Value {
    // Of the key when it was set; another one's value is none.
    std::uint32_t generation;
    void* value;
  };
  // Programs have few keys, and many threads.
  static constexpr std::size_t kFirst = 8;
  static constexpr std::size_t kPerBlock = 32;
  using Block = std::array<Value, kPerBlock>;
  using Blocks = std::array<Block*, PTHREAD_KEYS_MAX / kPerBlock>;
  Value* find(pthread_key_t key) noexcept;
  bool destroy_once() noexcept;

  std::array<Value, kFirst> first_{};
  // Of all keys, of which the first are not used; null: none of the others has a value.
  Blocks* blocks_ = nullptr;
};

// A thread of an unmodified program, as a fiber. Its address is its pthread_t, told apart from the C library's by where
// it lies. The thread that the program's first fiber runs on, usually that of main(), is one as well; it keeps its
// stack and its pthread_t.
class ProgramThread final : public fiber::Task {
 public:
  // Whether there are any, or have been. Cheap: services that only link this library have none.
  static bool any() noexcept { return any_.load(std::memory_order_relaxed); }
  // Of the calling fiber; in a forked child, of the fiber that called fork(). Null: the caller is a plain thread.
  static ProgramThread* current() noexcept { return any() ? find_current() : nullptr; }
  // Null: a thread of the C library.
  static ProgramThread* of(pthread_t handle) noexcept { return any() ? find(handle) : nullptr; }
  pthread_t handle() const noexcept;
  // The scheduler thread that it runs on.
  const fiber::Inbox& home() const noexcept { return *home_; }

  // As a fiber of that scheduler thread. 0 or an error number.
  static int create(const std::shared_ptr<fiber::Inbox>& home, const pthread_attr_t* attributes, void* (*start)(void*),
                    void* argument, pthread_t* created) noexcept;
  // The caller becomes the first thread of the program, on a scheduler that it has begun to run.
  static void adopt_caller() noexcept;
  // The one that was adopted; null: none was.
  static ProgramThread* first_one() noexcept;
  // Null: the fiber is no thread of a program.
  static ProgramThread* run_by(const fiber::FiberState& fiber) noexcept;
  // In a forked child, which has no other thread: it runs no scheduler.
  static void begin_child(ProgramThread* caller) noexcept;

  // 0 or an error number, as of pthread_join() and its kin.
  int join(void** result, Instant until);
  int try_join(void** result) noexcept;
  int detach() noexcept;
  int cancel() noexcept;
  bool ended() const noexcept { return state_.load(std::memory_order_acquire) >= State::ended; }
  // Ends the calling thread, which is this one.
  [[noreturn]] void exit(void* result);
  // What is left to do when all frames of the first thread are left: the process goes on as long as another thread
  // does.
  [[noreturn]] void end_first();

  int set_name(const char* name) noexcept;
  void name(char (&name)[16]) const noexcept;
  // Its stack: as pthread_getattr_np() tells it.
  int attributes(pthread_attr_t* into) const noexcept;

  struct Cancellation {
    std::atomic<bool> enabled = true;
    bool asynchronous = false;
  };

  // The first one has its values where it had them before.
  bool keeps_values() const noexcept { return !is_first_; }

  // On its scheduler's dispatcher: its wait is ended, or its next call is held up, for the handler.
  void take_signal(int number, const siginfo_t& info) noexcept;
  // A signal for this one alone, from any of the program's threads. 0 or an error number.
  int send_signal(int number, const siginfo_t& info) noexcept;
  // Takes one of the set that was sent to this one and is blocked; 0: there is none.
  int take_pending(const sigset_t& set, siginfo_t* info) noexcept;
  // Those that were sent to this one and are blocked.
  void add_pending(sigset_t& set) const noexcept;
  // What has come and is not blocked. Whether a call that it has interrupted goes on.
  bool handle_signals() noexcept;
  // Before a call, or when its wait was ended for it: handles signals, and ends it when it is cancelled. The same.
  bool act_on_interruption();
  bool cancel_is_due() const noexcept {
    return cancellation.enabled.load(std::memory_order_relaxed) && cancelled_.load(std::memory_order_acquire) &&
           !exiting_;
  }
  // After its cancellation was switched on or off.
  void look_for_interruptions() noexcept;
  bool has_signals() const noexcept;

  // Touched by the thread itself, and by its scheduler's dispatcher.
  sigset_t blocked{};
  std::uint64_t signals_handled = 0;
  // Innermost first.
  HandlerRun* handlers = nullptr;

  // Touched by the thread itself.
  SpecificValues specific;
  Cancellation cancellation;
  // Clean-up functions of C, innermost first: what pthread_cleanup_push() keeps.
  __pthread_unwind_buf_t* cleanups = nullptr;
  // Destructors of its thread_local objects.
  struct AtExit {
    void (*destroy)(void*);
    void* object;
    AtExit* next;
  };
  AtExit* at_exit = nullptr;
  // As at the end of the thread, or of the process when this one ends it.
  void destroy_thread_data() noexcept;
  ThreadData data;

  // Threads of all programs' life: made, and there now.
  static std::uint64_t made() noexcept;
  static std::uint64_t alive() noexcept;
  static std::uint64_t most_alive() noexcept;

 private:
  friend class Cancellable;
  friend void test_cancel();
  enum class State : int { unused, joinable, detached, ended, joined };

  ProgramThread(std::size_t stack_bytes, void* (*start)(void*), void* argument) noexcept
      : Task(stack_bytes), start_(start), argument_(argument), stack_bytes_(stack_bytes) {}
  ~ProgramThread() = default;

  static ProgramThread* find_current() noexcept;
  static ProgramThread* find(pthread_t handle) noexcept;
  void run() noexcept override;
  void describe(fiber::TaskName& name) const noexcept override;
  void refused(std::exception_ptr why) noexcept override;
  void run_to_exit() noexcept;
  void leave() noexcept;
  void end() noexcept;
  void give_back() noexcept;
  void interrupt() noexcept;

  static std::atomic<bool> any_;
  void* (*const start_)(void*);
  void* const argument_;
  const std::size_t stack_bytes_;
  fiber::StackPlace stack_;
  void* result_ = nullptr;
  std::atomic<State> state_{State::joinable};
  std::atomic<bool> joining_{false};
  std::atomic<bool> cancelled_{false};
  bool exiting_ = false;
  bool is_first_ = false;
  pthread_t plain_handle_ = 0;
  std::array<char, 16> name_{};
  struct Signal {
    int number;
    siginfo_t info;
  };
  std::vector<Signal> signals_;
  // While it runs.
  std::atomic<fiber::FiberState*> fiber_{nullptr};
  std::shared_ptr<fiber::Inbox> home_;

  // What a cancellation interrupts.
  SpinLock lock_;
  Parking* cancellable_ = nullptr;
};

// Ends the calling thread if it has been cancelled: at the points that POSIX names.
void test_cancel();

// A wait of the calling thread that a cancellation ends. On a plain thread it does nothing.
class Cancellable {
 public:
  // Locks are no points where a thread is cancelled, unless it may be at any; but handlers of signals run while it
  // waits.
  enum class By { cancellation, signals };
  explicit Cancellable(By by = By::cancellation) noexcept : thread_(ProgramThread::current()), by_(by) {}
  // False: there is something to act upon already. The wait must have joined when begin() and end() are called, or not
  // at all.
  bool begin(Parking& parking) noexcept;
  void end() noexcept;
  // What interrupted it: does not return from a cancellation. True: a signal, and the call is to fail.
  bool act();
  // The same for By::signals: false, the thread is to end as soon as it may.
  bool act_while_locking() noexcept;

 private:
  ProgramThread* const thread_;
  const By by_;
};

}  // namespace penstock::interpose
