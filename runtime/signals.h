#pragma once

#include <signal.h>

#include <functional>
#include <map>
#include <string>

namespace penstock {

using SignalFunctions = std::map<int, std::function<void()>>;

// Throws std::invalid_argument, naming the option, for a signal that cannot be an event: those that stop a runtime,
// that cannot be blocked, that the kernel sends for a fault, and SIGPIPE, which is ignored.
void check_signals(const SignalFunctions& functions);

// The signals that stop a runtime, or these.
sigset_t stop_signals();
void add_signals(sigset_t& set, const SignalFunctions& functions);

// "SIGHUP".
std::string signal_name(int number);

// Of a signal that all threads block. Throws std::system_error.
int open_signal(int number);
// The body of a fiber: takes the descriptor, and calls fn whenever the signal has come, until it is cancelled. Calls do
// not overlap: what comes during one leads to one more. Logs what fn throws.
void serve_signal(int fd, int number, const std::function<void()>& fn);

}  // namespace penstock
