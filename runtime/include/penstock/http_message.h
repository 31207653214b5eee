#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// A text as one segment of a path, or as a name or a value of a query: all but letters, digits and "-._~" as "%XX", so
// that nothing in it means anything to whoever reads the URL. (But a segment "." or ".." does, whatever it is written
// like.)
std::string percent_encode(std::string_view text);

// What a handler returns, and what the client received.
struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  // Instead of `body`, when it is set: sent as it is, without a copy for each answer.
  std::shared_ptr<const std::string> shared_body;

  std::string_view content() const { return shared_body ? std::string_view(*shared_body) : std::string_view(body); }
  // Case-insensitive; empty when absent.
  std::string_view header(std::string_view name) const;

  static Response text(std::string body, int status = 200);
  static Response json(std::string body, int status = 200);
  static Response html(std::string body, int status = 200);
  // Of static content, made once and answered often. The text must not be null, and not change any more.
  static Response shared(std::shared_ptr<const std::string> body, std::string content_type, int status = 200);
};

}  // namespace penstock::http
