#pragma once

#include <signal.h>

#include <cstdint>
#include <memory>

#include "runtime/fiber/inbox.h"

namespace penstock::interpose {

class ProgramThread;

// Signals of a program whose threads are fibers.
//
// Each of the kernel's threads that runs fibers blocks what all of its fibers block, and each fiber has a mask of its
// own. A handler runs at once when the signal finds its thread in code of the program, and the fiber that runs does not
// block it. Else it runs on a fiber of that thread that does not block it, the first thread's if that is one: its wait
// is ended for that, and then fails with EINTR or goes on (SA_RESTART), or it runs before that fiber's next call.
//
// From now on, on the calling thread, which blocks all signals, or is that of the program's first: its mask is the
// present one. Throws std::bad_alloc.
void take_signals(const std::shared_ptr<fiber::Inbox>& home, ProgramThread* first);
// Whether handlers are to be told to us: before the program installs its own.
void keep_handlers() noexcept;

// The masks of threads, on their scheduler's thread.
void begin_mask(const sigset_t& blocked) noexcept;
void end_mask(const sigset_t& blocked) noexcept;
int change_mask(ProgramThread& thread, int how, const sigset_t* set, sigset_t* old) noexcept;
// Calls the handler of a signal that has come for the calling fiber. Whether a call that it interrupted goes on.
bool handle(int number, siginfo_t& info);
// A handler that runs. It may end by a jump: then nothing of the frame that this lies in is run any more.
struct HandlerRun {
  // On the stack of what it has interrupted, which is above. As far as handlers have stacks of their own, jumps inside
  // of them are taken for jumps out.
  const char* interrupted_at;
  // In the midst of whatever, by the kernel; else inside a call of ours.
  bool in_midst;
  HandlerRun* outer;
};
// The calling thread jumps to that place on its stack, out of the handlers that were called from below. What it blocks
// then: `restored`, or, if null, what it blocks now. `kernels`: what the kernel is to be told, if anything is.
void leave_handlers(const char* to, const sigset_t* restored, sigset_t& kernels) noexcept;
// Whether a signal can be told to a fiber alone: the program has a handler for it, and the caller is not in one that
// has interrupted who knows what. Else it is sent to a thread of the kernel's.
bool can_be_sent(int number) noexcept;

// A mask of the calling fiber for the time of one call, as of ppoll(). Does nothing where the fiber is no thread of a
// program, whose calls ask the system for signals instead.
class MaskOfCall {
 public:
  explicit MaskOfCall(const sigset_t* mask) noexcept;
  ~MaskOfCall();
  MaskOfCall(const MaskOfCall&) = delete;
  MaskOfCall& operator=(const MaskOfCall&) = delete;
  // What the system is to be asked with; null: nothing.
  const sigset_t* for_system() const noexcept { return thread_ != nullptr ? nullptr : mask_; }
  // A handler has run: the call fails with EINTR unless it has something to say.
  bool interrupted() const noexcept;

 private:
  const sigset_t* const mask_;
  ProgramThread* const thread_;
  std::uint64_t handled_ = 0;
  sigset_t before_;
};

// In a forked child: the caller's mask is the only one.
void begin_child_mask(const sigset_t& blocked) noexcept;

}  // namespace penstock::interpose
