#include "runtime/http/client_pool.h"

#include <iterator>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/registry.h"

namespace penstock::http {

ClientHost::Lease::Lease(ClientHost& host, std::unique_ptr<ClientConnection> connection)
    : connection(std::move(connection)), host_(&host) {}

ClientHost::Lease::Lease(Lease&& other) noexcept
    : connection(std::move(other.connection)), host_(std::exchange(other.host_, nullptr)) {}

ClientHost::Lease& ClientHost::Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    release();
    connection = std::move(other.connection);
    host_ = std::exchange(other.host_, nullptr);
  }
  return *this;
}

void ClientHost::Lease::release() noexcept {
  if (host_ != nullptr) std::exchange(host_, nullptr)->give_back(std::move(connection));
}

ClientHost::ClientHost(CallTarget given, int max_idle)
    : target(std::move(given)),
      name((target.host.find(':') == target.host.npos ? target.host : '[' + target.host + ']') + ':' +
           std::to_string(target.port)),
      max_idle_(max_idle) {}

bool ClientHost::is_stale(ClientConnection& idle) {
  if (!idle.stale()) return false;
  unasked_ += idle.unasked();
  return true;
}

void ClientHost::settle() noexcept {
  const std::uint64_t looked_at = fiber::Scheduler::current()->reactor().looked_at();
  if (std::exchange(fresh_since_, looked_at) == looked_at) return;
  // There is room: give_back() has seen to it.
  std::move(fresh_.begin(), fresh_.end(), std::back_inserter(idle_));
  fresh_.clear();
}

std::unique_ptr<ClientConnection> ClientHost::take_idle(Duration idle_timeout) {
  settle();
  for (Connections* from : {&idle_, &fresh_}) {
    while (!from->empty()) {
      std::unique_ptr<ClientConnection> latest = std::move(from->back());
      from->pop_back();
      if (!is_stale(*latest) && fiber::cached_now() - latest->idle_since < idle_timeout) return latest;
      --open_;
    }
  }
  return nullptr;
}

bool ClientHost::full(const ClientOptions& options) const {
  if (!waiting_.empty()) return true;
  return options.max_connections > 0 && open_ >= options.max_connections && idle_.empty() && fresh_.empty();
}

ClientHost::Lease ClientHost::acquire(const ClientOptions& options) {
  if (waiting_.empty()) {
    if (auto connection = take_idle(options.idle_timeout)) return Lease(*this, std::move(connection));
    if (options.max_connections == 0 || open_ < options.max_connections) {
      ++open_;
      return Lease(*this, nullptr);
    }
  }
  Waiting waiting;
  const auto place = waiting_.insert(waiting_.end(), &waiting);
  fiber::Wake why;
  try {
    why = waiting.waiter.wait();
  } catch (...) {
    waiting_.erase(place);
    throw;
  }
  if (why != fiber::Wake::notified) waiting_.erase(place);
  fiber::throw_if_interrupted(why, "a free connection");
  // Between two calls of a kept connection the server may have sent something, however short the time was.
  if (waiting.given && is_stale(*waiting.given)) waiting.given.reset();
  return Lease(*this, std::move(waiting.given));
}

void ClientHost::give_back(std::unique_ptr<ClientConnection> connection) noexcept {
  if (connection != nullptr && !connection->reusable()) {
    unasked_ += connection->unasked();
    connection.reset();
  }
  for (auto next = waiting_.begin(); next != waiting_.end(); ++next) {
    // Who cannot be notified any more is about to take itself off the list.
    if (!(*next)->waiter.notify()) continue;
    (*next)->given = std::move(connection);
    waiting_.erase(next);
    return;
  }
  if (connection == nullptr || max_idle_ == 0) {
    --open_;
    return;
  }
  settle();
  const std::size_t idle = idle_.size() + fresh_.size();
  if (std::cmp_greater_equal(idle, max_idle_)) {
    Connections& oldest = idle_.empty() ? fresh_ : idle_;
    oldest.erase(oldest.begin());
    --open_;
  }
  connection->idle_since = fiber::cached_now();
  try {
    if (idle_.capacity() <= idle) idle_.reserve(2 * idle + 1);
    fresh_.push_back(std::move(connection));
  } catch (const std::bad_alloc&) {
    --open_;
  }
}

void ClientHost::expire(Duration idle_timeout) {
  const Instant now = fiber::cached_now();
  const auto useless = [&](const auto& idle) { return is_stale(*idle) || now - idle->idle_since >= idle_timeout; };
  open_ -= static_cast<int>(std::erase_if(idle_, useless) + std::erase_if(fresh_, useless));
}

void ClientHost::close() noexcept {
  max_idle_ = 0;
  open_ -= static_cast<int>(idle_.size() + fresh_.size());
  idle_.clear();
  fresh_.clear();
}

Upstream& ClientHost::upstream(const Registry& registry) {
  // First: what changes in between is looked up again.
  const std::uint64_t revision = registry.revision();
  if (upstream_ == nullptr || upstream_revision_ != revision) {
    upstream_ = &registry.match_upstream(target.host, target.port);
    upstream_revision_ = revision;
  }
  return *upstream_;
}

ClientHost* ClientPool::find(std::string_view origin) {
  if (latest_ != nullptr && latest_->first == origin) return latest_->second.get();
  const auto found = hosts_.find(origin);
  if (found == hosts_.end()) return nullptr;
  latest_ = &*found;
  return found->second.get();
}

ClientHost& ClientPool::host(std::string_view url, std::string_view& target, std::string& own_target, int max_idle) {
  if (const auto parts = split_url(url)) {
    if (ClientHost* found = find(parts->origin)) {
      target = parts->target;
      return *found;
    }
  }
  CallTarget parsed = parse_url(url);
  own_target = std::exchange(parsed.target, {});
  target = own_target;
  std::string origin = parsed.origin();
  parsed.authority = origin.substr(origin.find("://") + 3);
  auto& host = hosts_[std::move(origin)];
  if (host == nullptr) host = std::make_unique<ClientHost>(std::move(parsed), closed_ ? 0 : max_idle);
  return *host;
}

bool ClientPool::tend(Duration idle_timeout, const std::function<void(ClientHost&)>& each) {
  for (auto& [origin, host] : hosts_) {
    host->expire(idle_timeout);
    each(*host);
  }
  latest_ = nullptr;
  std::erase_if(hosts_, [](const auto& entry) { return entry.second->unused(); });
  return !hosts_.empty();
}

void ClientPool::close() noexcept {
  closed_ = true;
  for (auto& [origin, host] : hosts_) host->close();
  latest_ = nullptr;
  std::erase_if(hosts_, [](const auto& entry) { return entry.second->unused(); });
}

}  // namespace penstock::http
