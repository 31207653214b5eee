#pragma once

#include <signal.h>

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
// In a forked child: the caller's mask is the only one.
void begin_child_mask(const sigset_t& blocked) noexcept;

}  // namespace penstock::interpose
