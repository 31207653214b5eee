#pragma once

#include <sys/socket.h>

#include "runtime/net/socket.h"

namespace penstock::net {

// A socket address as system calls take it.
struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

// Of a numeric endpoint or a path. False: it is neither.
bool to_address(const Endpoint& endpoint, Address& address);
Endpoint to_endpoint(const sockaddr* address, socklen_t length);

// A new socket that is about to connect, or has; -1 with ec.
int begin_connect(const Endpoint& to, bool& connected, error_code& ec);

}  // namespace penstock::net
