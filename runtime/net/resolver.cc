#include "runtime/net/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "runtime/fiber/fiber_access.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/offload.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "runtime/net/address.h"
#include "runtime/net/address_cache.h"

namespace penstock::net {
namespace {

// More than the cache keeps any answer.
constexpr std::chrono::seconds kNoTtl = std::chrono::hours(1);
// The system does not tell how long its answers hold.
constexpr std::chrono::seconds kSystemTtl{5};
// RFC 1035.
constexpr std::size_t kLongestName = 253;

[[noreturn]] void fail(error_code ec, const std::string& host) {
  throw boost::system::system_error(ec, "cannot resolve '" + host + "'");
}

error_code to_error(int status) {
  switch (status) {
    case ARES_SUCCESS:
      return {};
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
    case ARES_ENONAME:
      return boost::asio::error::host_not_found;
    case ARES_ETIMEOUT:
      return boost::asio::error::timed_out;
    case ARES_ENOMEM:
      return boost::asio::error::no_memory;
    default:
      return boost::asio::error::host_not_found_try_again;
  }
}

// IPv4 first, each once.
template <class Node>
void collect(std::vector<std::string>& addresses, const Node* first) {
  std::vector<std::string> v6;
  for (const Node* node = first; node != nullptr; node = node->ai_next) {
    std::string host = to_endpoint(node->ai_addr, node->ai_addrlen).host;
    auto& list = node->ai_family == AF_INET ? addresses : v6;
    if (!host.empty() && std::find(list.begin(), list.end(), host) == list.end()) list.push_back(std::move(host));
  }
  addresses.insert(addresses.end(), v6.begin(), v6.end());
}

int to_status(int system_error) {
  switch (system_error) {
    case 0:
      return ARES_SUCCESS;
    case EAI_NONAME:
    case EAI_NODATA:
      return ARES_ENOTFOUND;
    case EAI_MEMORY:
      return ARES_ENOMEM;
    default:
      return ARES_ESERVFAIL;
  }
}

// One thread's channel to the name servers, and what they answered. Queries for one name are asked once.
class Resolver : public std::enable_shared_from_this<Resolver> {
 public:
  Resolver() = default;
  ~Resolver() { close_channel(); }
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  static std::shared_ptr<Resolver> of_thread();

  void configure(const ResolverOptions& options);
  std::vector<std::string> addresses(const std::string& host);

 private:
  struct Query {
    Resolver* resolver;
    std::string host;
    bool done = false;
    int status = ARES_SUCCESS;
    std::vector<std::string> addresses;
    std::chrono::seconds ttl = kNoTtl;
    std::vector<fiber::Waiter*> waiting;
  };
  class Watch;

  void open_channel();
  void close_channel();
  Instant next_timeout() const;
  // Starts a query; it may end at once.
  void ask_servers(std::shared_ptr<Query> query);
  void ask_system(std::shared_ptr<Query> query);
  void wait_for(Query& query);
  void finish(Query& query, int status);
  static void on_answer(void* arg, int status, int timeouts, ares_addrinfo* result);
  static void on_socket(void* arg, ares_socket_t fd, int readable, int writable);

  ResolverOptions options_;
  ares_channel channel_ = nullptr;
  std::map<ares_socket_t, Watch*> watches_;
  std::map<std::string, std::shared_ptr<Query>> asked_;
  AddressCache cache_;
};

class Resolver::Watch final : public fiber::Watch {
 public:
  Watch(Resolver& resolver, int fd) : fiber::Watch(fd), resolver_(resolver) {}

 private:
  void on_events(std::uint32_t events) noexcept override {
    const bool failed = (events & (EPOLLERR | EPOLLHUP)) != 0;
    const ares_socket_t none = ARES_SOCKET_BAD;
    ares_process_fd(resolver_.channel_, failed || (events & EPOLLIN) != 0 ? fd() : none,
                    failed || (events & EPOLLOUT) != 0 ? fd() : none);
  }
  Resolver& resolver_;
};

std::shared_ptr<Resolver> Resolver::of_thread() {
  thread_local std::weak_ptr<Resolver> known;
  std::shared_ptr<Resolver> resolver = known.lock();
  if (!resolver) {
    resolver = std::make_shared<Resolver>();
    known = resolver;
    fiber::Scheduler::current()->keep(resolver);
  }
  return resolver;
}

void Resolver::configure(const ResolverOptions& options) {
  close_channel();
  cache_.clear();
  options_ = options;
  if (options_.system == nullptr) open_channel();
}

void Resolver::open_channel() {
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);
  ares_options options{};
  options.sock_state_cb = &Resolver::on_socket;
  options.sock_state_cb_data = this;
  options.timeout = static_cast<int>(options_.timeout.count());
  options.tries = options_.tries;
  int status = library;
  if (status == ARES_SUCCESS) {
    status = ares_init_options(&channel_, &options, ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
  }
  if (status == ARES_SUCCESS && !options_.servers.empty()) {
    std::string list;
    for (const Endpoint& server : options_.servers) list += (list.empty() ? "" : ",") + server.to_string();
    status = ares_set_servers_ports_csv(channel_, list.c_str());
  }
  if (status != ARES_SUCCESS) {
    close_channel();
    throw boost::system::system_error(boost::asio::error::invalid_argument,
                                      std::string("resolver: ") + ares_strerror(status));
  }
}

void Resolver::close_channel() {
  if (ares_channel channel = std::exchange(channel_, nullptr)) ares_destroy(channel);
}

void Resolver::on_socket(void* arg, ares_socket_t fd, int readable, int writable) {
  auto& self = *static_cast<Resolver*>(arg);
  fiber::Reactor& reactor = fiber::Scheduler::current()->reactor();
  const std::uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
  auto known = self.watches_.find(fd);
  if (events == 0) {
    if (known == self.watches_.end()) return;
    reactor.retire(known->second);
    self.watches_.erase(known);
    return;
  }
  try {
    if (known != self.watches_.end()) {
      reactor.modify(*known->second, events);
    } else {
      auto watch = std::make_unique<Watch>(self, fd);
      reactor.add(*watch, events);
      self.watches_[fd] = watch.release();
    }
  } catch (const std::system_error&) {
    // The query then ends by its timeout.
  }
}

void Resolver::on_answer(void* arg, int status, int, ares_addrinfo* result) {
  const std::unique_ptr<std::shared_ptr<Query>> owned(static_cast<std::shared_ptr<Query>*>(arg));
  Query& query = **owned;
  if (status == ARES_SUCCESS) {
    for (const ares_addrinfo_node* node = result->nodes; node != nullptr; node = node->ai_next) {
      query.ttl = std::min(query.ttl, std::chrono::seconds(node->ai_ttl));
    }
    collect(query.addresses, result->nodes);
    ares_freeaddrinfo(result);
  }
  query.resolver->finish(query, status);
}

void Resolver::finish(Query& query, int status) {
  if (status == ARES_SUCCESS && query.addresses.empty()) status = ARES_ENODATA;
  const Instant now = fiber::cached_now();
  if (status == ARES_SUCCESS || to_error(status) == boost::asio::error::host_not_found) {
    cache_.keep(query.host, query.addresses, query.ttl, now);
  } else if (const AddressCache::Answer* old = cache_.extend(query.host, now)) {
    spdlog::warn("cannot resolve '{}': {}; going on with its old addresses", query.host, to_error(status).message());
    query.addresses = old->addresses;
    status = ARES_SUCCESS;
  }
  query.status = status;
  query.done = true;
  asked_.erase(query.host);
  for (fiber::Waiter* waiter : query.waiting) waiter->notify();
}

Instant Resolver::next_timeout() const {
  timeval left{};
  if (channel_ == nullptr || ares_timeout(channel_, nullptr, &left) == nullptr) return Instant::max();
  return std::chrono::steady_clock::now() + std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
}

void Resolver::ask_servers(std::shared_ptr<Query> query) {
  if (channel_ == nullptr) open_channel();
  asked_[query->host] = query;
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NOSORT;
  const std::string& host = query->host;
  ares_getaddrinfo(channel_, host.c_str(), nullptr, &hints, &Resolver::on_answer, new std::shared_ptr<Query>(query));
}

void Resolver::ask_system(std::shared_ptr<Query> query) {
  asked_[query->host] = query;
  // On a fiber of its own: the call cannot be ended, but the wait for it can.
  FiberAccess::spawn_here(
      "resolver",
      [self = shared_from_this(), query] {
        int error = EAI_SYSTEM;
        try {
          self->options_.system->run([&] {
            addrinfo hints{};
            hints.ai_socktype = SOCK_STREAM;
            addrinfo* result = nullptr;
            error = ::getaddrinfo(query->host.c_str(), nullptr, &hints, &result);
            if (error != 0) return;
            collect(query->addresses, result);
            ::freeaddrinfo(result);
          });
        } catch (const Cancelled&) {
          // The runtime ends, and so do those who wait for the name.
        } catch (const std::exception& e) {
          spdlog::error("cannot resolve '{}': {}", query->host, e.what());
        }
        query->ttl = kSystemTtl;
        self->finish(*query, to_status(error));
      },
      false);
}

void Resolver::wait_for(Query& query) {
  // Whoever waits also keeps c-ares's time.
  while (!query.done) {
    fiber::Waiter waiter({.what = "a host name to resolve:", .name = &query.host});
    query.waiting.push_back(&waiter);
    const fiber::Wake why = waiter.wait(next_timeout());
    std::erase(query.waiting, &waiter);
    fiber::throw_if_interrupted(why, "a host name to resolve");
    if (why == fiber::Wake::deadline && channel_ != nullptr) {
      ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
  }
}

std::vector<std::string> Resolver::addresses(const std::string& host) {
  const Instant now = fiber::cached_now();
  if (const AddressCache::Answer* known = cache_.find(host, now); known != nullptr && !known->stale(now)) {
    if (known->addresses.empty()) fail(boost::asio::error::host_not_found, host);
    return known->addresses;
  }
  std::shared_ptr<Query> query;
  if (const auto same = asked_.find(host); same != asked_.end()) {
    query = same->second;
  } else {
    query = std::make_shared<Query>(Query{this, host, false, ARES_SUCCESS, {}, kNoTtl, {}});
    options_.system != nullptr ? ask_system(query) : ask_servers(query);
  }
  wait_for(*query);
  if (query->status != ARES_SUCCESS) {
    const error_code ec = to_error(query->status);
    // The name servers may be others by now: look again next time.
    if (ec != boost::asio::error::host_not_found && asked_.empty() && options_.servers.empty()) close_channel();
    fail(ec, host);
  }
  return query->addresses;
}

}  // namespace

void set_resolver_options(const ResolverOptions& options) { Resolver::of_thread()->configure(options); }

std::vector<Endpoint> resolve(std::string_view host, std::uint16_t port) {
  const Endpoint literal{std::string(host), port};
  Address ignored;
  if (to_address(literal, ignored)) return {literal};
  if (host.empty() || host.size() > kLongestName || host.find('\0') != std::string_view::npos) {
    fail(boost::asio::error::host_not_found, literal.host);
  }
  const std::shared_ptr<Resolver> resolver = Resolver::of_thread();
  std::vector<Endpoint> endpoints;
  for (std::string& address : resolver->addresses(literal.host)) endpoints.push_back({std::move(address), port});
  return endpoints;
}

}  // namespace penstock::net
