#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::http {

// Where a call goes, from an absolute URL.
struct CallTarget {
  bool tls = false;
  // Lower case; an IPv6 address without its brackets.
  std::string host;
  std::uint16_t port = 0;
  // The value of the header Host.
  std::string authority;
  // Path and query, at least "/".
  std::string target;
};

// Throws std::invalid_argument for what is no URL of ours: another scheme, credentials, no host.
CallTarget parse_url(std::string_view url);

}  // namespace penstock::http
