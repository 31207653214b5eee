#include "policy/hosts.h"

#include <arpa/inet.h>

#include <string>

#include "absl/strings/ascii.h"
#include "policy/text.h"

namespace penstock::policy {

bool is_host(std::string_view text) {
  std::string_view host = text;
  std::string_view port;
  if (!text.empty() && text[0] == '[') {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    host = text.substr(1, end - 1);
    in6_addr address{};
    if (inet_pton(AF_INET6, std::string(host).c_str(), &address) != 1) return false;
    port = text.substr(end + 1);
  } else {
    const std::size_t colon = text.find(':');
    if (colon != std::string_view::npos) {
      host = text.substr(0, colon);
      port = text.substr(colon);
    }
    for (const char c : host)
      if (!absl::ascii_isalnum(c) && c != '-' && c != '.' && c != '_') return false;
  }
  if (host.empty() || host.size() > 253) return false;
  if (port.empty()) return true;
  port.remove_prefix(1);
  if (port.empty() || port.size() > 5 || text[text.size() - port.size() - 1] != ':') return false;
  int number = 0;
  for (const char c : port)
    if (!absl::ascii_isdigit(c)) return false;
  return parse_number(port, number) && number >= 1 && number <= 65535;
}

}  // namespace penstock::policy
