#include "runtime/net/resolver.h"

#include <ares.h>
#include <sys/epoll.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "runtime/net/address.h"

namespace penstock::net {
namespace {

constexpr std::chrono::seconds kLeastAge{1};
constexpr std::chrono::seconds kMostAge{30};
constexpr std::size_t kMostAnswers = 1000;
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

// One thread's channel to the name servers, and what they answered. Queries for one name are asked once.
class Resolver {
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
    std::chrono::seconds ttl = kMostAge;
    std::vector<fiber::Waiter*> waiting;
  };
  struct Answer {
    std::vector<std::string> addresses;
    Instant until;
  };
  class Watch;

  void open_channel();
  void close_channel();
  Instant next_timeout() const;
  void keep(const Query& query);
  static void on_answer(void* arg, int status, int timeouts, ares_addrinfo* result);
  static void on_socket(void* arg, ares_socket_t fd, int readable, int writable);

  ResolverOptions options_;
  ares_channel channel_ = nullptr;
  std::map<ares_socket_t, Watch*> watches_;
  std::map<std::string, std::shared_ptr<Query>> asked_;
  std::map<std::string, Answer> answers_;
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
  answers_.clear();
  options_ = options;
  open_channel();
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
    std::vector<std::string> v6;
    for (const ares_addrinfo_node* node = result->nodes; node != nullptr; node = node->ai_next) {
      query.ttl = std::min(query.ttl, std::chrono::seconds(node->ai_ttl));
      std::string host = to_endpoint(node->ai_addr, node->ai_addrlen).host;
      auto& list = node->ai_family == AF_INET ? query.addresses : v6;
      if (std::find(list.begin(), list.end(), host) == list.end()) list.push_back(std::move(host));
    }
    query.addresses.insert(query.addresses.end(), v6.begin(), v6.end());
    if (query.addresses.empty()) status = ARES_ENODATA;
    ares_freeaddrinfo(result);
  }
  query.status = status;
  query.done = true;
  if (status == ARES_SUCCESS) query.resolver->keep(query);
  query.resolver->asked_.erase(query.host);
  for (fiber::Waiter* waiter : query.waiting) waiter->notify();
}

void Resolver::keep(const Query& query) {
  const Instant now = fiber::cached_now();
  if (answers_.size() >= kMostAnswers)
    std::erase_if(answers_, [&](const auto& item) { return item.second.until <= now; });
  if (answers_.size() >= kMostAnswers) answers_.clear();
  answers_[query.host] = {query.addresses, now + std::clamp(query.ttl, kLeastAge, kMostAge)};
}

Instant Resolver::next_timeout() const {
  timeval left{};
  if (channel_ == nullptr || ares_timeout(channel_, nullptr, &left) == nullptr) return Instant::max();
  return std::chrono::steady_clock::now() + std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
}

std::vector<std::string> Resolver::addresses(const std::string& host) {
  if (const auto kept = answers_.find(host); kept != answers_.end()) {
    if (kept->second.until > fiber::cached_now()) return kept->second.addresses;
    answers_.erase(kept);
  }
  std::shared_ptr<Query> query;
  if (const auto same = asked_.find(host); same != asked_.end()) {
    query = same->second;
  } else {
    if (channel_ == nullptr) open_channel();
    query = std::make_shared<Query>(Query{this, host, false, ARES_SUCCESS, {}, kMostAge, {}});
    asked_[host] = query;
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;
    ares_getaddrinfo(channel_, host.c_str(), nullptr, &hints, &Resolver::on_answer, new std::shared_ptr<Query>(query));
  }
  // Whoever waits also keeps c-ares's time.
  while (!query->done) {
    fiber::Waiter waiter({.what = "a host name to resolve:", .name = &host});
    query->waiting.push_back(&waiter);
    const fiber::Wake why = waiter.wait(next_timeout());
    std::erase(query->waiting, &waiter);
    fiber::throw_if_interrupted(why, "a host name to resolve");
    if (why == fiber::Wake::deadline && channel_ != nullptr)
      ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }
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
