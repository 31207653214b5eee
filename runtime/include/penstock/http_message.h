#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// What a handler returns, and what the client received.
struct Response {
  int status = 200;
  Headers headers;
  std::string body;

  // Case-insensitive; empty when absent.
  std::string_view header(std::string_view name) const;

  static Response text(std::string body, int status = 200);
  static Response json(std::string body, int status = 200);
  static Response html(std::string body, int status = 200);
};

}  // namespace penstock::http
