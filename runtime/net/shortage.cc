#include "runtime/net/shortage.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <system_error>

namespace penstock::net {
namespace {

struct Count {
  std::atomic<std::uint64_t> times{0};
  std::atomic<std::int64_t> logged_second{-1};
};
Count counts[2];

Count& of(ShortOf what) { return counts[static_cast<int>(what)]; }

}  // namespace

bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

void note_shortage(ShortOf what, const std::string& where, int error) {
  Count& count = of(what);
  count.times.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t second =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (count.logged_second.exchange(second, std::memory_order_relaxed) == second) return;
  spdlog::error("cannot {} {}: {}", what == ShortOf::accepting ? "accept connections on" : "connect to", where,
                std::generic_category().message(error));
}

std::uint64_t shortages(ShortOf what) { return of(what).times.load(std::memory_order_relaxed); }

}  // namespace penstock::net
