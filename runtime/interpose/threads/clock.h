#pragma once

#include <time.h>

#include <optional>

#include "penstock/error.h"

namespace penstock::interpose {

// When a clock will show that time; empty: there is no such time, or the clock is none that can be waited for.
std::optional<Instant> instant_of(clockid_t clock, const timespec& at) noexcept;

}  // namespace penstock::interpose
