#pragma once

#include <boost/beast/http/fields.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/http.h"

namespace penstock::http {

// What a Request shows. Lives on the connection while the handler runs.
struct Request::State {
  std::string_view method;
  std::string_view target;
  std::string_view path;
  // Names belong to the route, values are decoded.
  std::vector<std::pair<std::string_view, std::string>> params;
  const boost::beast::http::fields* fields = nullptr;
  std::string_view body;
  std::string_view peer;
};

struct ServerAccess {
  using RequestState = Request::State;
  static Request request(const RequestState& state) { return Request(state); }
};

// The path of a request's target: without the query, and without scheme and authority if it is in absolute form.
std::string_view path_of(std::string_view target);

// %XX decoded, and "+" as a space in queries; what is no valid escape stays as it is.
std::string percent_decode(std::string_view text, bool plus_is_space);

}  // namespace penstock::http
