#pragma once

#include <functional>

namespace penstock::interpose {

// Runs fn, which must not throw, on a plain thread while the calling fiber waits, whatever its deadline: for what the
// C library does with waits inside. Keeps the errno that fn leaves. False: there was no memory, and fn did not run.
bool on_thread(const std::function<void()>& fn) noexcept;

}  // namespace penstock::interpose
