#pragma once

#include <netdb.h>

#include <cstddef>
#include <vector>

#include "runtime/net/address.h"

namespace penstock::interpose {

// Fills a hostent as gethostbyname2_r does, with all that it points to in `room`. False: it is too small.
bool make_host_entry(const char* name, int family, const std::vector<net::Address>& addresses, hostent& host,
                     char* room, std::size_t size) noexcept;

// What gethostbyname returns to a fiber; the C library has one for all threads.
struct HostEntryOfFiber {
  hostent host{};
  char room[4096];

  // Null without memory.
  static HostEntryOfFiber* mine() noexcept;
};

}  // namespace penstock::interpose
