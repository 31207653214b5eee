#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "runtime/http/client_state.h"

namespace penstock::http {

struct ClientAccess {
  static ClientExchange open(const std::shared_ptr<Client::State>& client, std::string_view method,
                             std::string_view url, const Headers& headers, BodyLength body);
};

}  // namespace penstock::http
