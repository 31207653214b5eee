#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/net/socket.h"

namespace penstock::net {

struct ConnectOptions {
  // For resolving and connecting together; zero: none but the fiber's deadline.
  Duration timeout{};
  // How long an attempt may take until the next address is tried as well (RFC 8305).
  Duration attempt_delay = std::chrono::milliseconds(250);
  // Probes a silent peer after that time, so that one that has vanished is noticed; zero: never.
  Duration keepalive{};
};

// To a name, a numeric address, or the path of a Unix socket. Addresses are tried in the order in which resolve() gives
// them, but families in turn; the first that connects wins, and the other attempts are closed.
// Throws boost::system::system_error, whose what() names the host and what failed; DeadlineExceeded, Cancelled.
Socket connect(std::string_view host, std::uint16_t port, const ConnectOptions& options = {});
// As above, to one of several addresses; with `ec` of the first that failed.
Socket connect(const std::vector<Endpoint>& addresses, const ConnectOptions& options, error_code& ec);

// In the order of the attempts.
std::vector<Endpoint> families_in_turn(const std::vector<Endpoint>& addresses);

}  // namespace penstock::net
