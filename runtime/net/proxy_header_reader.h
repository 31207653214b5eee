#pragma once

#include "runtime/net/proxy_protocol.h"
#include "runtime/net/socket.h"

namespace penstock::net {

// Reads a header and nothing beyond it. A refused one is boost::system::errc::protocol_error, with `why`.
ProxyHeader read_proxy_header(Socket& socket, Duration at_most, error_code& ec);

}  // namespace penstock::net
