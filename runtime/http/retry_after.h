#pragma once

#include <optional>

#include "penstock/decision/time.h"
#include "penstock/http_message.h"

namespace penstock::http {

// What the answer's Retry-After says (RFC 9110, 10.2.3), as the time from now: seconds, or a date. Unset without one,
// or when it cannot be read.
std::optional<decision::Duration> retry_after(const Response& response);

}  // namespace penstock::http
