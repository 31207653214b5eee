#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <exception>
#include <vector>

#include "penstock/error.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/host_entry.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/resolved_names.h"
#include "runtime/interpose/threads_for_libc.h"
#include "runtime/net/address.h"

// getaddrinfo, getnameinfo, and the gethostby* family. Names go to the runtime's resolver; whatever it does not do,
// such as asking for the name of an address, is done by the C library on a thread of its own.

PENSTOCK_REAL(getaddrinfo)
PENSTOCK_REAL(getnameinfo)
PENSTOCK_REAL(gethostbyname)
PENSTOCK_REAL(gethostbyname2)
PENSTOCK_REAL(gethostbyaddr)
PENSTOCK_REAL(gethostbyname_r)
PENSTOCK_REAL(gethostbyname2_r)
PENSTOCK_REAL(gethostbyaddr_r)

namespace penstock::interpose {
namespace {

struct Looked {
  std::vector<net::Endpoint> endpoints;
  // EAI_*; 0: found.
  int error = 0;
};

Looked look_up(const char* name) noexcept {
  try {
    return {net::resolve(name, 0), 0};
  } catch (const boost::system::system_error& e) {
    return {{}, e.code() == boost::asio::error::host_not_found ? EAI_NONAME : EAI_AGAIN};
  } catch (const DeadlineExceeded&) {
    errno = ETIMEDOUT;
  } catch (const Cancelled&) {
    errno = ECANCELED;
  } catch (const std::exception&) {
    return {{}, EAI_MEMORY};
  }
  return {{}, EAI_SYSTEM};
}

bool is_numeric(const char* name) noexcept {
  unsigned char address[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, name, address) == 1 || ::inet_pton(AF_INET6, name, address) == 1 ||
         ::strchr(name, '%') != nullptr || ::inet_addr(name) != INADDR_NONE;
}

void remember_all(const char* name, const addrinfo* results) noexcept {
  for (; results != nullptr; results = results->ai_next) remember(name, results->ai_addr, results->ai_addrlen);
}

int find_addresses(const char* name, const char* service, const addrinfo* hints, addrinfo** results) noexcept {
  const Looked looked = look_up(name);
  if (looked.error != 0) return looked.error;
  addrinfo each{};
  if (hints != nullptr) each = *hints;
  each.ai_flags = (each.ai_flags & ~(AI_CANONNAME | AI_ADDRCONFIG)) | AI_NUMERICHOST;
  addrinfo* first = nullptr;
  addrinfo** end = &first;
  int error = EAI_NONAME;
  for (const net::Endpoint& endpoint : looked.endpoints) {
    addrinfo* found = nullptr;
    const int failed = real::getaddrinfo(endpoint.host.c_str(), service, &each, &found);
    // Addresses of another family than was asked for are not wanted.
    if (failed == EAI_ADDRFAMILY || failed == EAI_NONAME) continue;
    if (failed != 0) {
      error = failed;
      break;
    }
    *end = found;
    while (*end != nullptr) end = &(*end)->ai_next;
  }
  if (first == nullptr) return error;
  if (hints != nullptr && (hints->ai_flags & AI_CANONNAME) != 0) first->ai_canonname = ::strdup(name);
  remember_all(name, first);
  *results = first;
  return 0;
}

int to_host_error(int error) noexcept {
  switch (error) {
    case EAI_NONAME:
      return HOST_NOT_FOUND;
    case EAI_AGAIN:
    case EAI_SYSTEM:
      return TRY_AGAIN;
    default:
      return NO_RECOVERY;
  }
}

// As gethostbyname2_r.
int find_host(const char* name, int family, hostent* host, char* room, std::size_t size, hostent** result,
              int* host_error) noexcept {
  *result = nullptr;
  const Looked looked = look_up(name);
  if (looked.error != 0) {
    *host_error = to_host_error(looked.error);
    return looked.error == EAI_NONAME ? 0 : EAGAIN;
  }
  std::vector<net::Address> addresses;
  for (const net::Endpoint& endpoint : looked.endpoints) {
    net::Address address;
    if (!net::to_address(endpoint, address)) continue;
    remember(name, address.get(), address.length);
    if (address.get()->sa_family == family) addresses.push_back(address);
  }
  if (addresses.empty()) {
    *host_error = NO_DATA;
    return 0;
  }
  if (!make_host_entry(name, family, addresses, *host, room, size)) {
    *host_error = NETDB_INTERNAL;
    return ERANGE;
  }
  *result = host;
  return 0;
}

bool by_resolver(const char* name) noexcept { return name != nullptr && cooperative() != nullptr && !is_numeric(name); }

// In the calling fiber's own place, which the next call overwrites.
hostent* find_host(const char* name, int family) noexcept {
  HostEntryOfFiber* place = HostEntryOfFiber::mine();
  hostent* result = nullptr;
  if (place == nullptr) {
    h_errno = NETDB_INTERNAL;
    return nullptr;
  }
  int error = 0;
  find_host(name, family, &place->host, place->room, sizeof place->room, &result, &error);
  if (result == nullptr) h_errno = error;
  return result;
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** results) {
  const bool numeric =
      (hints != nullptr && (hints->ai_flags & AI_NUMERICHOST) != 0) || (name != nullptr && is_numeric(name));
  if (!numeric && by_resolver(name)) return find_addresses(name, service, hints, results);
  const int error = real::getaddrinfo(name, service, hints, results);
  if (error != 0 || name == nullptr) return error;
  if (numeric) {
    remember_asked_by_address((*results)->ai_addr, (*results)->ai_addrlen);
  } else {
    remember_all(name, *results);
  }
  return 0;
}

PENSTOCK_INTERPOSED int getnameinfo(const sockaddr* address, socklen_t size, char* host, socklen_t host_size,
                                    char* service, socklen_t service_size, int flags) {
  if ((flags & NI_NUMERICHOST) != 0 || host == nullptr || host_size == 0 || cooperative() == nullptr) {
    return real::getnameinfo(address, size, host, host_size, service, service_size, flags);
  }
  int result = EAI_MEMORY;
  on_thread([&] { result = real::getnameinfo(address, size, host, host_size, service, service_size, flags); });
  return result;
}

PENSTOCK_INTERPOSED hostent* gethostbyname(const char* name) {
  return by_resolver(name) ? find_host(name, AF_INET) : real::gethostbyname(name);
}

PENSTOCK_INTERPOSED hostent* gethostbyname2(const char* name, int family) {
  return by_resolver(name) ? find_host(name, family) : real::gethostbyname2(name, family);
}

PENSTOCK_INTERPOSED int gethostbyname_r(const char* name, hostent* host, char* room, size_t size, hostent** result,
                                        int* error) {
  if (by_resolver(name)) return find_host(name, AF_INET, host, room, size, result, error);
  return real::gethostbyname_r(name, host, room, size, result, error);
}

PENSTOCK_INTERPOSED int gethostbyname2_r(const char* name, int family, hostent* host, char* room, size_t size,
                                         hostent** result, int* error) {
  if (by_resolver(name)) return find_host(name, family, host, room, size, result, error);
  return real::gethostbyname2_r(name, family, host, room, size, result, error);
}

PENSTOCK_INTERPOSED hostent* gethostbyaddr(const void* address, socklen_t size, int family) {
  if (cooperative() == nullptr) return real::gethostbyaddr(address, size, family);
  hostent* result = nullptr;
  int error = NETDB_INTERNAL;
  on_thread([&] {
    result = real::gethostbyaddr(address, size, family);
    error = h_errno;
  });
  h_errno = error;
  return result;
}

PENSTOCK_INTERPOSED int gethostbyaddr_r(const void* address, socklen_t size, int family, hostent* host, char* room,
                                        size_t room_size, hostent** result, int* error) {
  if (cooperative() == nullptr) {
    return real::gethostbyaddr_r(address, size, family, host, room, room_size, result, error);
  }
  int failed = EAGAIN;
  on_thread([&] { failed = real::gethostbyaddr_r(address, size, family, host, room, room_size, result, error); });
  return failed;
}
