#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/http_exchange.h"
#include "runtime/http/request_head.h"
#include "runtime/net/socket.h"
#include "runtime/net/tls_stream.h"

namespace penstock::http {

// What a Request shows. Lives on its fiber's stack while the handler runs.
struct Request::State {
  RequestHead head;
  std::string_view path;
  // Names belong to the route, values are decoded.
  std::vector<std::pair<std::string_view, std::string>> params;
  std::string body;
  const net::Endpoint* client = nullptr;
  // Null: without TLS.
  const net::TlsStream* tls = nullptr;
  // Of `client`, made when it is asked for.
  std::string peer;
  std::string_view trace_id;
};

// The path of a request's target: without the query, and without scheme and authority if it is in absolute form.
std::string_view path_of(std::string_view target);

// %XX decoded, and "+" as a space in queries; what is no valid escape stays as it is.
std::string percent_decode(std::string_view text, bool plus_is_space);

}  // namespace penstock::http
