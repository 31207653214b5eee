#include "policy/http_url.h"

#include "absl/strings/ascii.h"
#include "policy/hosts.h"
#include "policy/text.h"

namespace penstock::policy {
namespace {

// What RFC 3986 allows in a path.
bool is_path(std::string_view path) {
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (absl::ascii_isalnum(path[i]) || std::string_view("-._~!$&'()*+,;=:@/").find(path[i]) != std::string_view::npos)
      continue;
    if (path[i] != '%' || i + 2 >= path.size() || !absl::ascii_isxdigit(path[i + 1]) ||
        !absl::ascii_isxdigit(path[i + 2]))
      return false;
    i += 2;
  }
  return true;
}

}  // namespace

std::optional<HttpUrl> parse_http_url(std::string_view text) {
  HttpUrl url;
  url.tls = text.starts_with("https://");
  if (!url.tls && !text.starts_with("http://")) return std::nullopt;
  text.remove_prefix(url.tls ? 8 : 7);
  const std::string_view authority = text.substr(0, text.find('/'));
  std::string_view prefix = text.substr(authority.size());
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!is_host(authority) || !is_path(prefix)) return std::nullopt;
  url.authority = std::string(authority);
  url.prefix = std::string(prefix);
  const std::size_t bracket = authority.find(']');
  const std::size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::string_view host = authority.substr(0, colon);
  if (bracket != std::string_view::npos) host = host.substr(1, host.size() - 2);
  url.host = std::string(host);
  url.port = url.tls ? 443 : 80;
  if (colon != std::string_view::npos) parse_number(authority.substr(colon + 1), url.port);
  return url;
}

}  // namespace penstock::policy
