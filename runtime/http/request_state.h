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

}  // namespace penstock::http
