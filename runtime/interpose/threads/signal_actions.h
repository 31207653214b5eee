#pragma once

#include <signal.h>

namespace penstock::interpose {

// What the program has installed for a signal.
struct sigaction action_of(int number) noexcept;
// Whether the program has one for it.
bool has_handler(int number) noexcept;
void call_handler(int number, siginfo_t* info, void* context);
// A signal has come: the handler that the kernel knows, for all that the program has installed.
void come(int number, siginfo_t* info, void* context) noexcept;

}  // namespace penstock::interpose
