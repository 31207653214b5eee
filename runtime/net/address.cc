#include "runtime/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace penstock::net {

std::string Endpoint::to_string() const {
  if (host.starts_with('/')) return host;
  const std::string number = std::to_string(port);
  return host.find(':') != std::string::npos ? "[" + host + "]:" + number : host + ":" + number;
}

bool to_address(const Endpoint& endpoint, Address& address) {
  address = {};
  if (endpoint.host.starts_with('/')) {
    auto* path = reinterpret_cast<sockaddr_un*>(&address.storage);
    if (endpoint.host.size() >= sizeof path->sun_path) return false;
    path->sun_family = AF_UNIX;
    std::memcpy(path->sun_path, endpoint.host.c_str(), endpoint.host.size() + 1);
    address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + endpoint.host.size() + 1);
    return true;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (::inet_pton(AF_INET, endpoint.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint.port);
    address.length = sizeof *v4;
    return true;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET6, endpoint.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(endpoint.port);
    address.length = sizeof *v6;
    return true;
  }
  return false;
}

Endpoint to_endpoint(const sockaddr* address, socklen_t length) {
  char text[INET6_ADDRSTRLEN] = "";
  switch (address->sa_family) {
    case AF_INET: {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
      ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
      return {text, ntohs(v4->sin_port)};
    }
    case AF_INET6: {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
      ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
      return {text, ntohs(v6->sin6_port)};
    }
    case AF_UNIX: {
      const auto* path = reinterpret_cast<const sockaddr_un*>(address);
      // A client's socket is mostly unnamed.
      if (length <= offsetof(sockaddr_un, sun_path) || path->sun_path[0] == '\0') return {"/", 0};
      return {path->sun_path, 0};
    }
    default:
      return {};
  }
}

}  // namespace penstock::net
