#pragma once

#include "runtime/telemetry/unwinder.h"

namespace penstock::telemetry {

// What the .eh_frame of the object that holds `pc` says of it. Async-signal-safe: takes no lock, allocates nothing.
Unwinder::Rule find_unwind_rule(Address pc) noexcept;

}  // namespace penstock::telemetry
