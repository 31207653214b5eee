#include <stdexcept>
#include <utility>

#include "penstock/http_message.h"
#include "runtime/http/message.h"

namespace penstock::http {
namespace {

Response of_type(const char* type, std::string body, int status) {
  Response response;
  response.status = status;
  response.headers.emplace_back("Content-Type", type);
  response.body = std::move(body);
  return response;
}

}  // namespace

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter_or_digit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter_or_digit || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string_view Response::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (same_token(key, name)) return value;
  }
  return {};
}

Response Response::text(std::string body, int status) {
  return of_type("text/plain; charset=utf-8", std::move(body), status);
}
Response Response::json(std::string body, int status) { return of_type("application/json", std::move(body), status); }
Response Response::html(std::string body, int status) {
  return of_type("text/html; charset=utf-8", std::move(body), status);
}

Response Response::shared(std::shared_ptr<const std::string> body, std::string content_type, int status) {
  if (!body) throw std::invalid_argument("Response::shared: no body");
  Response response;
  response.status = status;
  response.headers.emplace_back("Content-Type", std::move(content_type));
  response.shared_body = std::move(body);
  return response;
}

}  // namespace penstock::http
