#include "runtime/interpose/host_entry.h"

#include <netinet/in.h>

#include <cstring>
#include <memory>
#include <new>

#include "penstock/fiber_local.h"

namespace penstock::interpose {

bool make_host_entry(const char* name, int family, const std::vector<net::Address>& addresses, hostent& host,
                     char* room, std::size_t size) noexcept {
  const std::size_t length = family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
  void* place = room;
  const std::size_t pointers = (addresses.size() + 2) * sizeof(char*);
  if (std::align(alignof(char*), pointers, place, size) == nullptr) return false;
  const std::size_t name_size = std::strlen(name) + 1;
  if (size < pointers + addresses.size() * length + name_size) return false;
  auto** list = static_cast<char**>(place);
  char* data = static_cast<char*>(place) + pointers;
  host.h_addr_list = list;
  for (const net::Address& address : addresses) {
    const void* from = family == AF_INET
                           ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(address.get())->sin_addr)
                           : &reinterpret_cast<const sockaddr_in6*>(address.get())->sin6_addr;
    *list++ = static_cast<char*>(std::memcpy(data, from, length));
    data += length;
  }
  *list++ = nullptr;
  host.h_aliases = list;
  *list = nullptr;
  host.h_name = static_cast<char*>(std::memcpy(data, name, name_size));
  host.h_addrtype = family;
  host.h_length = static_cast<int>(length);
  return true;
}

HostEntryOfFiber* HostEntryOfFiber::mine() noexcept {
  static auto* const all = new FiberLocal<HostEntryOfFiber>;
  try {
    return &all->get();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace penstock::interpose
