#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/net/socket.h"

namespace penstock::net {

// What a proxy says of a connection before its bytes (HAProxy's PROXY protocol, versions 1 and 2).
struct ProxyHeader {
  enum class Result { need_more, complete, refused };
  Result result = Result::need_more;
  // Of a complete header; what follows belongs to the connection.
  std::size_t size = 0;
  // Where the connection came from; unset: it is the proxy's own (a health check), or the proxy does not say.
  std::optional<Endpoint> source;
  // Of a refused one.
  const char* why = "";
};

// A longer header is refused.
inline constexpr std::size_t kMostProxyHeader = 4096;

// `bytes` are what has come so far, from the first on. While more is needed, all of them belong to the header.
ProxyHeader parse_proxy_header(std::string_view bytes);

}  // namespace penstock::net
