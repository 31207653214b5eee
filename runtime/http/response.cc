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
