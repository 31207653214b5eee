#pragma once

#include <sys/socket.h>

#include <string_view>

namespace penstock {
class Runtime;
class Upstream;
}  // namespace penstock

// Which names the program has looked up, so that a connection to an address is known for one to a host of the policy.
namespace penstock::interpose {

// That the host has the address. Thread-safe; forgets the oldest when there are many. Without memory: nothing.
void remember(std::string_view host, const sockaddr* address, socklen_t size) noexcept;

// That the calling fiber has asked for an address as such, not for a name that has it. Elsewhere: nothing.
void remember_asked_by_address(const sockaddr* address, socklen_t size) noexcept;

// The upstream that the policy names for a connection to that address: by what the calling fiber has looked up last; or
// else by the names that anybody has looked up, the latest first, and the address itself, of which those count first
// that the policy names with the port. Null: it names none.
Upstream* upstream_of(Runtime& runtime, const sockaddr* address, socklen_t size);

}  // namespace penstock::interpose
