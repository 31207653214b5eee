#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock::policy {

// Where an HTTP API is: http[s]://HOST[:PORT][/PREFIX].
struct HttpUrl {
  bool tls = false;
  // As written; an IPv6 address in its brackets.
  std::string authority;
  // An IPv6 address without its brackets.
  std::string host;
  std::uint16_t port = 0;
  // Empty, or "/prefix" without a slash at its end.
  std::string prefix;

  std::string text() const { return (tls ? "https://" : "http://") + authority + prefix; }
};

// Unset for anything else: another scheme, credentials, a query, characters that no URL may hold.
std::optional<HttpUrl> parse_http_url(std::string_view text);

}  // namespace penstock::policy
