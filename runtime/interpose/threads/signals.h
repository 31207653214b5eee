#pragma once

#include <signal.h>

#include <memory>

#include "runtime/fiber/inbox.h"

namespace penstock::interpose {

class ProgramThread;

// Signals of a program whose threads are fibers.
//
// The kernel knows one thread: it blocks what all fibers block, and each has a mask of its own. A handler runs at once
// when the signal finds its thread in code of the program, and the fiber that runs does not block it. Else it runs on a
// fiber that does not block it, the first thread's if that is one: its wait is ended for that, and then fails with
// EINTR or goes on (SA_RESTART), or it runs before that fiber's next call.
//
// From now on, on the calling thread. The mask of the first thread is the present one.
void take_signals(ProgramThread& first, const std::shared_ptr<fiber::Inbox>& home);
// Whether handlers are to be told to us: before the program installs its own.
void keep_handlers() noexcept;

// The masks of threads, on the scheduler's thread.
void begin_mask(const sigset_t& blocked) noexcept;
void end_mask(const sigset_t& blocked) noexcept;
int change_mask(ProgramThread& thread, int how, const sigset_t* set, sigset_t* old) noexcept;
// Calls the handler of a signal that has come for the calling fiber. Whether a call that it interrupted goes on.
bool handle(int number, siginfo_t& info);
// In a forked child: the caller's mask is the only one.
void begin_child_mask(const sigset_t& blocked) noexcept;

}  // namespace penstock::interpose
