#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>

#include "bench/switch/nanoseconds.h"

// A peer: what the stackful coroutines of asio::spawn cost on one thread. Prints one JSON object of nanoseconds.
namespace {

namespace asio = boost::asio;

constexpr int kRounds = 1'000'000;

// Runs what fn(io) starts.
template <class Fn>
double nanoseconds_each(int count, Fn fn) {
  asio::io_context io(1);
  return penstock::bench::nanoseconds_each(count, [&] {
    fn(io);
    io.run();
  });
}

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

double yield_ns() {
  return nanoseconds_each(kRounds, [](asio::io_context& io) {
    const auto loop = [&](asio::yield_context yield) {
      for (int i = 0; i < kRounds / 2; ++i) asio::post(yield);
    };
    asio::spawn(io, loop, rethrow);
    asio::spawn(io, loop, rethrow);
  });
}

// Each is started by the end of the one before.
class Chain {
 public:
  explicit Chain(asio::io_context& io) : io_(io) {}
  void start() {
    asio::spawn(
        io_, [](asio::yield_context) {},
        [this](std::exception_ptr) {
          if (++ended_ < kSpawns) asio::post(io_, [this] { start(); });
        });
  }
  static constexpr int kSpawns = kRounds / 5;

 private:
  asio::io_context& io_;
  int ended_ = 0;
};

double spawn_join_ns() {
  std::optional<Chain> chain;
  return nanoseconds_each(Chain::kSpawns, [&](asio::io_context& io) { chain.emplace(io).start(); });
}

// Two coroutines, each waiting on a timer that the other one cancels: the usual event of asio.
double handoff_ns() {
  asio::steady_timer* wake[2];
  return nanoseconds_each(kRounds, [&](asio::io_context& io) {
    for (int me : {0, 1}) {
      asio::spawn(
          io,
          [&, me](asio::yield_context yield) {
            asio::steady_timer timer(io, asio::steady_timer::time_point::max());
            wake[me] = &timer;
            boost::system::error_code ignored;
            if (me == 0) timer.async_wait(yield[ignored]);
            for (int i = 0; i < kRounds / 2; ++i) {
              wake[1 - me]->cancel();
              if (me == 0 && i == kRounds / 2 - 1) break;
              timer.async_wait(yield[ignored]);
            }
          },
          rethrow);
    }
  });
}

double timer_ns() {
  return nanoseconds_each(kRounds, [](asio::io_context& io) {
    asio::steady_timer timer(io);
    for (int i = 0; i < kRounds; ++i) {
      timer.expires_after(std::chrono::hours(1));
      timer.async_wait([](const boost::system::error_code&) {});
      timer.cancel();
      io.poll();
      io.restart();
    }
  });
}

}  // namespace

int main() {
  yield_ns();
  std::printf("{\"yield_ns\":%.1f,\"spawn_join_ns\":%.1f,\"handoff_ns\":%.1f,\"timer_ns\":%.1f}\n", yield_ns(),
              spawn_join_ns(), handoff_ns(), timer_ns());
}
