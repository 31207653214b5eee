#include "runtime/net/connect.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <cerrno>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "runtime/net/address.h"
#include "runtime/net/shortage.h"

namespace penstock::net {
namespace {

error_code system_error_of(int number) { return error_code(number, boost::system::system_category()); }

Instant now() { return std::chrono::steady_clock::now(); }

// Several attempts at once; the sockets that have not won are closed at its end.
class Race {
 public:
  Race() = default;
  ~Race() {
    for (Attempt* attempt : attempts_) end(attempt);
  }
  Race(const Race&) = delete;

  // True: it has connected already.
  bool start(const Endpoint& to, error_code& ec);
  // True: one has won. Attempts that have failed are taken out.
  bool look(error_code& ec);
  bool empty() const { return attempts_.empty(); }
  fiber::Wake wait(Instant until);
  Socket winner() { return Socket(std::exchange(won_, -1)); }

 private:
  class Attempt final : public fiber::Watch {
   public:
    Attempt(Race& race, int fd) : fiber::Watch(fd), race_(race) {}
    bool told = false;

   private:
    void on_events(std::uint32_t) noexcept override {
      told = true;
      if (race_.waiter_ != nullptr) race_.waiter_->notify();
    }
    Race& race_;
  };

  static void end(Attempt* attempt) {
    const int fd = attempt->fd();
    fiber::Scheduler::current()->reactor().retire(attempt);
    ::close(fd);
  }

  std::vector<Attempt*> attempts_;
  fiber::Waiter* waiter_ = nullptr;
  int won_ = -1;
};

bool Race::start(const Endpoint& to, error_code& ec) {
  ec = {};
  bool connected = false;
  const int fd = begin_connect(to, connected, ec);
  if (ec) return false;
  if (connected) {
    won_ = fd;
    return true;
  }
  try {
    auto attempt = std::make_unique<Attempt>(*this, fd);
    attempts_.reserve(attempts_.size() + 1);
    fiber::Scheduler::current()->reactor().add(*attempt, EPOLLOUT | EPOLLET);
    attempts_.push_back(attempt.release());
  } catch (const std::system_error& e) {
    ::close(fd);
    ec = system_error_of(e.code().value());
  } catch (const std::bad_alloc&) {
    ::close(fd);
    throw;
  }
  return false;
}

bool Race::look(error_code& ec) {
  ec = {};
  for (auto it = attempts_.begin(); it != attempts_.end();) {
    Attempt* attempt = *it;
    // An event may be older than the attempt: ask.
    pollfd ready{attempt->fd(), POLLOUT, 0};
    if (!std::exchange(attempt->told, false) || ::poll(&ready, 1, 0) != 1) {
      ++it;
      continue;
    }
    it = attempts_.erase(it);
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(attempt->fd(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
      end(attempt);
      ec = system_error_of(error);
      continue;
    }
    won_ = attempt->fd();
    fiber::Scheduler::current()->reactor().retire(attempt);
    return true;
  }
  return false;
}

fiber::Wake Race::wait(Instant until) {
  fiber::Waiter waiter("a connection to be made");
  waiter_ = &waiter;
  const fiber::Wake why = waiter.wait(until);
  waiter_ = nullptr;
  return why;
}

Socket run_race(const std::vector<Endpoint>& addresses, Instant until, Duration delay, error_code& ec) {
  Race race;
  std::size_t next = 0;
  Instant start_next{};
  error_code first_error;
  const auto failed = [&](const error_code& error) {
    if (!error) return;
    // That a family cannot be used says little of the host.
    if (!first_error || first_error == boost::asio::error::network_unreachable) first_error = error;
    start_next = {};
  };
  for (;;) {
    error_code error;
    if (race.look(error)) return race.winner();
    failed(error);
    const Instant time = now();
    if (time >= until) {
      ec = boost::asio::error::timed_out;
      return {};
    }
    if (next < addresses.size() && time >= start_next) {
      start_next = time + delay;
      if (race.start(addresses[next++], error)) return race.winner();
      failed(error);
      if (error && is_shortage(error.value())) next = addresses.size();
      if (error) continue;
    }
    if (race.empty() && next == addresses.size()) {
      ec = first_error;
      return {};
    }
    const fiber::Wake why = race.wait(next < addresses.size() ? std::min(until, start_next) : until);
    fiber::throw_if_interrupted(why, "a connection to be made");
  }
}

void keep_alive(int fd, Duration idle) {
  const auto seconds =
      static_cast<int>(std::clamp<std::int64_t>(std::chrono::ceil<std::chrono::seconds>(idle).count(), 1, 32'767));
  const int on = 1, between = std::max(1, seconds / 3), probes = 3;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

}  // namespace

std::vector<Endpoint> families_in_turn(const std::vector<Endpoint>& addresses) {
  const auto is_v6 = [](const Endpoint& endpoint) { return endpoint.host.find(':') != std::string::npos; };
  std::vector<Endpoint> lists[2], ordered;
  for (const Endpoint& endpoint : addresses) {
    lists[is_v6(endpoint) == is_v6(addresses.front()) ? 0 : 1].push_back(endpoint);
  }
  for (std::size_t i = 0; i < std::max(lists[0].size(), lists[1].size()); ++i) {
    for (auto& list : lists) {
      if (i < list.size()) ordered.push_back(std::move(list[i]));
    }
  }
  return ordered;
}

Socket connect(const std::vector<Endpoint>& addresses, const ConnectOptions& options, error_code& ec) {
  ec = {};
  Socket socket;
  if (addresses.empty()) {
    ec = boost::asio::error::host_not_found;
  } else if (addresses.size() == 1) {
    socket = Socket::connect(addresses.front(), options.timeout, ec);
  } else {
    const Instant until = options.timeout == Duration::zero() ? Instant::max() : now() + options.timeout;
    socket = run_race(families_in_turn(addresses), until, options.attempt_delay, ec);
  }
  if (!ec && options.keepalive > Duration::zero()) keep_alive(socket.fd(), options.keepalive);
  return socket;
}

Socket connect(std::string_view host, std::uint16_t port, const ConnectOptions& options) {
  const Instant until = options.timeout == Duration::zero() ? Instant::max() : now() + options.timeout;
  const std::string name = Endpoint{std::string(host), port}.to_string();
  std::vector<Endpoint> addresses;
  try {
    const DeadlineScope scope(until);
    addresses = resolve(host, port);
  } catch (const DeadlineExceeded&) {
    if (current_deadline() <= now()) throw;
    throw boost::system::system_error(boost::asio::error::timed_out, "cannot resolve '" + std::string(host) + "'");
  }
  ConnectOptions rest = options;
  if (until != Instant::max()) rest.timeout = std::max<Duration>(until - now(), std::chrono::milliseconds(1));
  error_code ec;
  Socket socket = connect(addresses, rest, ec);
  if (ec) throw boost::system::system_error(ec, "cannot connect to " + name);
  return socket;
}

}  // namespace penstock::net
