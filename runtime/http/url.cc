#include "runtime/http/url.h"

#include <array>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <charconv>
#include <stdexcept>

namespace penstock::http {
namespace {

[[noreturn]] void refuse(std::string_view url, const char* why) {
  // Without the query, which may hold a secret.
  throw std::invalid_argument("URL \"" + std::string(url.substr(0, url.find_first_of("?#"))) + "\": " + why);
}

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// What RFC 3986 allows in a path or a query as it is.
constexpr std::array<bool, 256> kTargetCharacters = [] {
  std::array<bool, 256> allowed{};
  for (int c = '0'; c <= '9'; ++c) allowed[static_cast<std::size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) allowed[static_cast<std::size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) allowed[static_cast<std::size_t>(c)] = true;
  for (const char c : std::string_view("-._~!$&'()*+,;=:@/?")) allowed[static_cast<std::size_t>(c)] = true;
  return allowed;
}();

}  // namespace

std::string CallTarget::origin() const {
  const bool six = host.find(':') != host.npos;
  std::string text = tls ? "https://" : "http://";
  if (six) text += '[';
  text += host;
  if (six) text += ']';
  if (port != (tls ? 443 : 80)) text.append(":").append(std::to_string(port));
  return text;
}

std::optional<UrlParts> split_url(std::string_view url) noexcept {
  std::size_t end = url.starts_with("http://") ? 7 : url.starts_with("https://") ? 8 : 0;
  if (end == 0) return std::nullopt;
  while (end < url.size() && url[end] != '/' && url[end] != '?' && url[end] != '#') ++end;
  UrlParts parts{url.substr(0, end), url.substr(end)};
  for (std::size_t i = 0; i < parts.target.size(); ++i) {
    const char c = parts.target[i];
    if (kTargetCharacters[static_cast<unsigned char>(c)]) continue;
    if (c != '%' || i + 2 >= parts.target.size() || !is_hex(parts.target[i + 1]) || !is_hex(parts.target[i + 2])) {
      return std::nullopt;
    }
  }
  return parts;
}

CallTarget parse_url(std::string_view url) {
  const auto parsed = boost::urls::parse_uri(boost::urls::string_view(url.data(), url.size()));
  if (!parsed) refuse(url, "malformed");
  const boost::urls::url_view& view = *parsed;
  CallTarget result;
  if (view.scheme_id() == boost::urls::scheme::https) {
    result.tls = true;
  } else if (view.scheme_id() != boost::urls::scheme::http) {
    throw std::invalid_argument("URL: the scheme must be http or https");
  }
  if (view.has_userinfo()) throw std::invalid_argument("URL: credentials are not accepted, use a header");
  const auto encoded_host = view.encoded_host();
  if (encoded_host.find('%') != encoded_host.npos) refuse(url, "the host must not be percent-encoded");
  result.host = view.host_address();
  if (result.host.empty()) refuse(url, "no host");
  for (char& c : result.host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  result.port = result.tls ? 443 : 80;
  if (view.has_port() && !view.port().empty()) {
    const auto port = view.port();
    const auto parsed_port = std::from_chars(port.data(), port.data() + port.size(), result.port);
    if (parsed_port.ec != std::errc() || result.port == 0) refuse(url, "the port is out of range");
  }
  const auto authority = view.encoded_host_and_port();
  result.authority.assign(authority.data(), authority.size());
  const auto path = view.encoded_path();
  result.target.assign(path.data(), path.size());
  if (result.target.empty()) result.target = "/";
  // Boost takes "http://[::1]@:80" for an address with a path.
  if (result.target.front() != '/') refuse(url, "malformed");
  if (view.has_query()) {
    const auto query = view.encoded_query();
    result.target += '?';
    result.target.append(query.data(), query.size());
  }
  return result;
}

}  // namespace penstock::http
