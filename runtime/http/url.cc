#include "runtime/http/url.h"

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

}  // namespace

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
  if (view.has_query()) {
    const auto query = view.encoded_query();
    result.target += '?';
    result.target.append(query.data(), query.size());
  }
  return result;
}

}  // namespace penstock::http
