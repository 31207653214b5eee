#pragma once

#include <chrono>
#include <vector>

#include "runtime/net/socket.h"

namespace penstock::fiber {
class OffloadThreads;
}

namespace penstock::net {

struct ResolverOptions {
  // Numeric; empty: those of /etc/resolv.conf.
  std::vector<Endpoint> servers;
  // Of the first try; later ones wait longer.
  std::chrono::milliseconds timeout{2'000};
  int tries = 3;
  // Not c-ares but the system (getaddrinfo, and so all that nsswitch.conf names) is asked, on these threads, which
  // outlive the calling one. Null: c-ares. The rest is of no effect then.
  fiber::OffloadThreads* system = nullptr;
};

// For the calling scheduler thread, from now on; forgets what was resolved. Throws boost::system::system_error when the
// options are not usable. Not while a fiber of the thread resolves.
void set_resolver_options(const ResolverOptions& options);

}  // namespace penstock::net
