#include <spdlog/spdlog.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/http/client_exchange.h"
#include "runtime/http/client_state.h"
#include "runtime/http/retry_after.h"
#include "runtime/net/tls_context.h"
#include "runtime/runtime_state.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock::http {
namespace {

// How soon a connection that the server has closed is closed here.
constexpr auto kTendEvery = std::chrono::seconds(1);

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("http::ClientOptions: ") + what);
}

ClientOptions checked(ClientOptions options) {
  using std::chrono::milliseconds;
  require(options.connect_timeout > milliseconds::zero(), "connect_timeout must be positive");
  require(options.max_header_bytes >= 256 && options.max_header_bytes <= 1024 * 1024,
          "max_header_bytes must be in [256, 1 MiB]");
  require(options.max_idle >= 0, "max_idle must not be negative");
  require(options.max_connections >= 0, "max_connections must not be negative");
  require(options.idle_timeout > milliseconds::zero(), "idle_timeout must be positive");
  require(options.retries >= 0, "retries must not be negative");
  require(options.error_status >= 200 && options.error_status <= 600, "error_status must be in [200, 600]");
  require(options.unix_socket.empty() || options.unix_socket.front() == '/', "unix_socket must be an absolute path");
  require(options.unix_socket.size() < sizeof(sockaddr_un::sun_path), "unix_socket is too long for a socket's path");
  for (const std::string& protocol : options.tls.alpn) {
    require(protocol == "http/1.1" || protocol == "http/1.0", "tls.alpn must name no protocol but HTTP/1");
  }
  return options;
}

bool sends_length_always(std::string_view method) { return method == "POST" || method == "PUT" || method == "PATCH"; }

}  // namespace

Client::State::State(Runtime& runtime, ClientOptions given)
    : runtime(runtime),
      registry(*RuntimeAccess::state(runtime).registry),
      options(checked(std::move(given))),
      pools_(runtime.threads()) {
  const net::TlsClientOptions& tls = options.tls;
  const bool own = !tls.ca_file.empty() || tls.certificate != net::TlsCertificate{} || tls.insecure_skip_verification;
  if (own) tls_ = std::make_unique<net::TlsClientContext>(tls);
}

ClientPool& Client::State::pool() {
  ClientPool& pool = pools_[fiber::thread_index()];
  if (!pool.tended) {
    runtime.spawn_on(fiber::thread_index(), "http idle connections",
                     [self = shared_from_this(), &pool] { self->tend(pool); });
    pool.tended = true;
  }
  return pool;
}

// Closes what was idle for too long, and everything when the runtime stops; ends when nothing is left to tend.
void Client::State::tend(ClientPool& pool) {
  bool stopping = false;
  try {
    const auto report = [this](ClientHost& host) { report_unasked(host.upstream(registry), host); };
    while (!closed.wait_until(fiber::time_in(std::min<Duration>(options.idle_timeout, kTendEvery)))) {
      if (!pool.tend(options.idle_timeout, report)) break;
    }
  } catch (const Cancelled&) {
    stopping = true;
  }
  if (stopping || closed.is_set()) pool.close();
  pool.tended = false;
}

Response Client::State::call(ClientHost& host, const CallHead& head, std::string_view body) {
  const ClientHost::Pin pin(host);
  Upstream& upstream = host.upstream(registry);
  for (int failed = 0;; ++failed) {
    try {
      Response response = attempt(upstream, host, head, body);
      if (failed > 0 && response.status < options.error_status) {
        UpstreamAccess::retry_succeeded(upstream, fiber::cached_now());
      }
      return response;
    } catch (const CallError&) {
      if (!head.idempotent || failed >= options.retries || !upstream.try_retry()) throw;
    }
  }
}

Response Client::State::attempt(Upstream& upstream, ClientHost& host, const CallHead& head, std::string_view body) {
  Upstream::Call call = upstream.begin();
  Response response = part(upstream, host, call, [&] { return exchange(upstream, host, head, body); });
  answered(upstream, host, call, response);
  return response;
}

void Client::State::answered(Upstream& upstream, ClientHost& host, Upstream::Call& call, const Response& response) {
  const bool failed = response.status >= options.error_status;
  std::optional<Duration> retry_after;
  if (response.status == 429 || response.status == 503) retry_after = http::retry_after(response);
  if (response.status == 429 || retry_after) {
    call.finish_refused(retry_after);
  } else {
    call.finish(failed ? CallOutcome::error : CallOutcome::ok);
  }
  if (failed) log_failure(upstream, host, "error", "answered " + std::to_string(response.status));
  report_unasked(upstream, host);
}

void Client::State::log_failure(const Upstream& upstream, ClientHost& host, std::string_view outcome,
                                std::string_view why) {
  const auto unlogged = host.failures.take(fiber::cached_now());
  if (!unlogged) return;
  spdlog::warn("call failed upstream={} outcome={} host={} message={:?} unlogged={}", upstream.name(), outcome,
               host.name, why, *unlogged);
}

void Client::State::report_unasked(const Upstream& upstream, ClientHost& host) {
  const int connections = host.take_unasked();
  if (connections == 0) return;
  runtime.metrics()
      .counter("penstock_http_client_unasked_total",
               "Connections that were closed because the upstream had sent what no call asked for.",
               {{"upstream", upstream.name()}})
      .add(connections);
  const auto unlogged = host.surplus.take(fiber::cached_now());
  if (!unlogged) return;
  spdlog::warn(
      "unasked bytes upstream={} host={} message=\"sent what no call asked for: its connection is closed\" "
      "unlogged={}",
      upstream.name(), host.name, *unlogged);
}

Response Client::State::exchange(Upstream& upstream, ClientHost& host, const CallHead& head, std::string_view body) {
  ClientHost::Lease lease = acquire(upstream, host);
  const auto talk = [&] {
    lease.connection->begin(head);
    // A server that refuses a request may answer and close before it has read all of it: the answer counts.
    lease.connection->send(body);
    return lease.connection->receive(head.is_head, options);
  };
  if (lease.connection) {
    try {
      return talk();
    } catch (const CallError&) {
      if (!may_send_again(*lease.connection, head)) throw;
    }
  }
  lease.connection = connect(host);
  return talk();
}

ClientHost::Lease Client::State::acquire(Upstream& upstream, ClientHost& host) {
  if (host.full(options)) {
    runtime.metrics()
        .counter("penstock_http_client_connection_waits_total",
                 "Calls that waited for one of the connections that the client may have to a host.",
                 {{"upstream", upstream.name()}})
        .add();
  }
  ClientHost::Lease lease = host.acquire(options);
  report_unasked(upstream, host);
  return lease;
}

std::unique_ptr<ClientConnection> Client::State::connect(const ClientHost& host) {
  const ConnectTo to{host.target.host, host.target.port, options.unix_socket, host.name};
  return std::make_unique<ClientConnection>(to, options, host.target.tls ? &tls() : nullptr);
}

net::TlsClientContext& Client::State::tls() {
  {
    const std::lock_guard lock(tls_mutex_);
    if (tls_) return *tls_;
  }
  // It reads files. Two threads may both come here; the first one's is taken.
  std::unique_ptr<net::TlsClientContext> made;
  runtime.offload([&] { made = std::make_unique<net::TlsClientContext>(options.tls); });
  const std::lock_guard lock(tls_mutex_);
  if (!tls_) tls_ = std::move(made);
  return *tls_;
}

Client::Client(Runtime& runtime, ClientOptions options)
    : state_(std::make_shared<State>(runtime, std::move(options))) {}

Client::~Client() { state_->closed.set(); }

Response Client::get(std::string_view url, const Headers& headers) { return request("GET", url, {}, headers); }

Response Client::post(std::string_view url, std::string_view body, const Headers& headers) {
  return request("POST", url, body, headers);
}

Response Client::request(std::string_view method, std::string_view url, std::string_view body, const Headers& headers) {
  fiber::require_fiber("http::Client");
  SentBody sent;
  if (!body.empty() || sends_length_always(method)) sent = {SentBody::Kind::sized, body.size()};
  CallHead head = make_call_head(method, headers, sent);
  std::string own_target;
  ClientHost& host = state_->pool().host(url, head.target, own_target, state_->options.max_idle);
  head.authority = host.target.authority;
  head.forward_deadline = state_->options.forward_deadline;
  return state_->call(host, head, body);
}

ClientExchange Client::open(std::string_view method, std::string_view url, const Headers& headers, BodyLength body) {
  fiber::require_fiber("http::Client");
  return ClientAccess::open(state_, method, url, headers, body);
}

}  // namespace penstock::http
