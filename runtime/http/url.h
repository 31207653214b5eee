#pragma once

#include <cstdint>
#include <optional>
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

  // "http://host:port" in its canonical form: lower case, and no port where it is the scheme's.
  std::string origin() const;
};

// Throws std::invalid_argument for what is no URL of ours: another scheme, credentials, no host, a host that is
// percent-encoded.
CallTarget parse_url(std::string_view url);

// The URL cut before its path; `target` is its path and query, and may lack the "/" that a request line begins with.
// Unset: it needs parse_url(), to be understood or to be refused. The origin is not looked at, but for its end: it is
// for the comparison with canonical origins.
struct UrlParts {
  std::string_view origin;
  std::string_view target;
};
std::optional<UrlParts> split_url(std::string_view url) noexcept;

}  // namespace penstock::http
