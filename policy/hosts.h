#pragma once

#include <string_view>

namespace penstock::policy {

// "host", "host:port", "[ipv6]" or "[ipv6]:port", with a port of 1 to 65535.
bool is_host(std::string_view text);

}  // namespace penstock::policy
