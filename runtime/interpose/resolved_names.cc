#include "runtime/interpose/resolved_names.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "penstock/fiber_local.h"
#include "penstock/runtime.h"
#include "penstock/spin_lock.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/net/address.h"
#include "runtime/registry.h"
#include "runtime/runtime_state.h"

namespace penstock::interpose {
namespace {

constexpr std::size_t kMostAddresses = 4096;
constexpr std::size_t kMostNames = 8;

// An IPv6 address, or an IPv4 address mapped to one.
using Key = std::array<std::uint8_t, 16>;

struct Names {
  SpinLock lock;
  // Guarded by lock. The latest first.
  std::map<Key, std::vector<std::string>> by_address;
};

// Never destroyed: connections are made until the process ends.
Names& names() {
  static auto* const made = new Names;
  return *made;
}

FiberLocal<std::string>& latest_name() {
  static auto* const made = new FiberLocal<std::string>;
  return *made;
}

bool to_key(const sockaddr* address, socklen_t size, Key& key, std::uint16_t& port) noexcept {
  if (address == nullptr) return false;
  if (address->sa_family == AF_INET && size >= sizeof(sockaddr_in)) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    key = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    std::memcpy(&key[12], &v4->sin_addr, 4);
    port = ntohs(v4->sin_port);
    return true;
  }
  if (address->sa_family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    std::memcpy(key.data(), &v6->sin6_addr, key.size());
    port = ntohs(v6->sin6_port);
    return true;
  }
  return false;
}

std::vector<std::string> names_of(const Key& key) {
  Names& all = names();
  std::lock_guard guard(all.lock);
  const auto found = all.by_address.find(key);
  return found != all.by_address.end() ? found->second : std::vector<std::string>();
}

Upstream* named(const Registry& registry, std::string_view host, std::uint16_t port) {
  Upstream& upstream = registry.match_upstream(host, port);
  return upstream.name() != "other" ? &upstream : nullptr;
}

}  // namespace

void remember(std::string_view host, const sockaddr* address, socklen_t size) noexcept {
  Key key;
  std::uint16_t port;
  if (!to_key(address, size, key, port)) return;
  try {
    std::string name(host);
    if (fiber::on_fiber()) latest_name().get() = name;
    Names& all = names();
    std::lock_guard guard(all.lock);
    if (all.by_address.size() >= kMostAddresses && !all.by_address.contains(key)) all.by_address.clear();
    std::vector<std::string>& known = all.by_address[key];
    const auto same = std::find(known.begin(), known.end(), name);
    if (same != known.end()) {
      std::rotate(known.begin(), same, same + 1);
      return;
    }
    if (known.size() == kMostNames) known.pop_back();
    known.insert(known.begin(), std::move(name));
  } catch (const std::exception&) {
    // It is then known by its address only.
  }
}

void remember_asked_by_address(const sockaddr* address, socklen_t size) noexcept {
  if (!fiber::on_fiber()) return;
  try {
    latest_name().get() = net::to_endpoint(address, size).host;
  } catch (const std::exception&) {
    // What it asked for before counts on.
  }
}

Upstream* upstream_of(Runtime& runtime, const sockaddr* address, socklen_t size) {
  Key key;
  std::uint16_t port;
  if (!to_key(address, size, key, port)) return nullptr;
  const Registry& registry = *RuntimeAccess::state(runtime).registry;
  std::vector<std::string> known = names_of(key);
  known.push_back(net::to_endpoint(address, size).host);
  if (latest_name().has_value()) {
    const auto own = std::find(known.begin(), known.end(), latest_name().get());
    if (own != known.end()) {
      if (Upstream* upstream = named(registry, *own, port)) return upstream;
    }
  }
  for (const std::string& name : known) {
    if (Upstream* upstream = registry.match_with_port(name, port)) return upstream;
  }
  for (const std::string& name : known) {
    if (Upstream* upstream = named(registry, name, port)) return upstream;
  }
  return nullptr;
}

}  // namespace penstock::interpose
