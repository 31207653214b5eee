#pragma once

#include <optional>
#include <string_view>

#include "penstock/error.h"
#include "runtime/http/request_head.h"

namespace penstock::http {

// "1.5" (seconds), "250ms", "2s", "1m": unset for anything else, for what is not positive, and for more than eight
// digits.
std::optional<Duration> parse_request_timeout(std::string_view value) noexcept;
// gRPC's form: at most eight digits and one of H, M, S, m, u, n.
std::optional<Duration> parse_grpc_timeout(std::string_view value) noexcept;

// The earlier of what the headers "X-Request-Timeout" and "grpc-timeout" say; unset: neither is there. Throws
// RequestError for a malformed one.
std::optional<Duration> request_timeout(const RequestHead& head);

}  // namespace penstock::http
