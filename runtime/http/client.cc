#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "penstock/http.h"
#include "penstock/runtime.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/http/client_connection.h"
#include "runtime/http/message.h"
#include "runtime/http/url.h"

namespace penstock::http {
namespace {

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("http::ClientOptions: ") + what);
}

ClientOptions checked(ClientOptions options) {
  using std::chrono::milliseconds;
  require(options.connect_timeout > milliseconds::zero(), "connect_timeout must be positive");
  require(options.max_header_bytes >= 256 && options.max_header_bytes <= 1024 * 1024,
          "max_header_bytes must be in [256, 1 MiB]");
  require(options.max_idle >= 0, "max_idle must not be negative");
  require(options.idle_timeout > milliseconds::zero(), "idle_timeout must be positive");
  require(options.retries >= 0, "retries must not be negative");
  require(options.error_status >= 200 && options.error_status <= 600, "error_status must be in [200, 600]");
  return options;
}

bool is_idempotent(std::string_view method) {
  static constexpr std::array<std::string_view, 6> kMethods = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
  return std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end();
}

struct CallRequest {
  CallTarget target;
  std::string head;
  std::string_view body;
  bool is_head = false;
  bool idempotent = false;
};

CallRequest make_request(std::string_view method, std::string_view url, std::string_view body, const Headers& headers) {
  if (!is_token(method)) throw std::invalid_argument("malformed method");
  CallRequest request;
  request.target = parse_url(url);
  request.body = body;
  request.is_head = method == "HEAD";
  request.idempotent = is_idempotent(method);

  std::string& head = request.head;
  head.append(method).append(" ").append(request.target.target).append(" HTTP/1.1\r\n");
  bool host = false;
  for (const auto& [name, value] : headers) {
    if (!is_token(name) || !is_field_value(value)) throw std::invalid_argument("malformed header " + name);
    if (is_framing_header(name)) continue;
    host = host || same_token(name, "Host");
    head.append(name).append(": ").append(value).append("\r\n");
  }
  if (!host) head.append("Host: ").append(request.target.authority).append("\r\n");
  if (!body.empty() || method == "POST" || method == "PUT" || method == "PATCH") {
    head.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  }
  head.append("\r\n");
  return request;
}

// The idle connections of one scheduler thread, used on it only.
struct IdlePool {
  struct Idle {
    std::unique_ptr<ClientConnection> connection;
    Instant since;
  };
  // By scheme, host and port; the latest used last.
  std::unordered_map<std::string, std::deque<Idle>> hosts;
  bool tended = false;
  bool closed = false;

  std::unique_ptr<ClientConnection> take(const std::string& key, Duration idle_timeout) {
    const auto found = hosts.find(key);
    if (found == hosts.end()) return nullptr;
    auto& idle = found->second;
    std::unique_ptr<ClientConnection> taken;
    while (!idle.empty() && !taken) {
      Idle latest = std::move(idle.back());
      idle.pop_back();
      if (fiber::cached_now() - latest.since < idle_timeout && !latest.connection->stale()) {
        taken = std::move(latest.connection);
      }
    }
    return taken;
  }

  void expire(Duration idle_timeout) {
    for (auto& [key, idle] : hosts) {
      while (!idle.empty() && fiber::cached_now() - idle.front().since >= idle_timeout) idle.pop_front();
    }
    std::erase_if(hosts, [](const auto& host) { return host.second.empty(); });
  }
};

}  // namespace

struct Client::State : std::enable_shared_from_this<Client::State> {
  State(Runtime& runtime, ClientOptions given)
      : runtime(runtime), options(checked(std::move(given))), pools(runtime.threads()) {}

  Response call(const CallRequest& request);
  Response attempt(Upstream& upstream, const CallRequest& request);
  Response exchange(const CallRequest& request);
  void give_back(const std::string& key, std::unique_ptr<ClientConnection> connection);
  void tend(IdlePool& pool);
  std::unique_ptr<ClientConnection> connect(const CallTarget& target);

  Runtime& runtime;
  const ClientOptions options;
  std::vector<IdlePool> pools;
  std::atomic<bool> closed{false};
  std::mutex tls_mutex;
  std::shared_ptr<SSL_CTX> tls;
};

Response Client::State::call(const CallRequest& request) {
  Upstream& upstream = runtime.match_upstream(request.target.host, request.target.port);
  for (int failed = 0;; ++failed) {
    try {
      return attempt(upstream, request);
    } catch (const CallError&) {
      if (!request.idempotent || failed >= options.retries || !upstream.try_retry()) throw;
    }
  }
}

Response Client::State::attempt(Upstream& upstream, const CallRequest& request) {
  Upstream::Call guard = upstream.begin();
  try {
    const DeadlineScope deadline(guard.deadline());
    Response response = exchange(request);
    guard.finish(response.status >= options.error_status ? CallOutcome::error : CallOutcome::ok);
    return response;
  } catch (const DeadlineExceeded&) {
    guard.finish(CallOutcome::timeout);
    throw;
  } catch (const Cancelled&) {
    guard.finish(CallOutcome::cancelled);
    throw;
  } catch (const CallError&) {
    guard.finish(CallOutcome::error);
    throw;
  }
}

Response Client::State::exchange(const CallRequest& request) {
  const std::string key =
      (request.target.tls ? "https://" : "http://") + request.target.host + ':' + std::to_string(request.target.port);
  auto connection = pools[fiber::thread_index()].take(key, options.idle_timeout);
  if (connection) {
    try {
      Response response = connection->exchange(request.head, request.body, request.is_head, options);
      give_back(key, std::move(connection));
      return response;
    } catch (const CallError&) {
      // The server may have closed it while the request was on its way, as it may with any idle connection.
      if (connection->answered() || !request.idempotent) throw;
    }
  }
  connection = connect(request.target);
  Response response = connection->exchange(request.head, request.body, request.is_head, options);
  give_back(key, std::move(connection));
  return response;
}

std::unique_ptr<ClientConnection> Client::State::connect(const CallTarget& target) {
  if (!target.tls) return std::make_unique<ClientConnection>(target, options, nullptr);
  std::shared_ptr<SSL_CTX> context;
  {
    const std::lock_guard lock(tls_mutex);
    context = tls;
  }
  if (!context) {
    // Two threads may both come here; either's is as good.
    runtime.offload([&context] { context = make_tls_context(); });
    const std::lock_guard lock(tls_mutex);
    tls = context;
  }
  return std::make_unique<ClientConnection>(target, options, context.get());
}

void Client::State::give_back(const std::string& key, std::unique_ptr<ClientConnection> connection) {
  IdlePool& pool = pools[fiber::thread_index()];
  if (!connection->reusable() || options.max_idle == 0 || pool.closed || closed) return;
  auto& idle = pool.hosts[key];
  if (std::ssize(idle) >= options.max_idle) idle.pop_front();
  idle.push_back({std::move(connection), fiber::cached_now()});
  if (pool.tended) return;
  pool.tended = true;
  runtime.spawn_on(fiber::thread_index(), "http idle connections",
                   [self = shared_from_this(), &pool] { self->tend(pool); });
}

// Closes what was idle for too long, and everything when the runtime stops; ends when nothing is left to tend.
void Client::State::tend(IdlePool& pool) {
  try {
    while (!pool.hosts.empty() && !closed) {
      sleep_for(std::min<Duration>(options.idle_timeout, std::chrono::seconds(1)));
      pool.expire(options.idle_timeout);
    }
  } catch (const Cancelled&) {
    pool.closed = true;
  }
  pool.tended = false;
  if (pool.closed || closed) pool.hosts.clear();
}

Client::Client(Runtime& runtime, ClientOptions options)
    : state_(std::make_shared<State>(runtime, std::move(options))) {}

Client::~Client() { state_->closed = true; }

Response Client::get(std::string_view url, const Headers& headers) { return request("GET", url, {}, headers); }

Response Client::post(std::string_view url, std::string_view body, const Headers& headers) {
  return request("POST", url, body, headers);
}

Response Client::request(std::string_view method, std::string_view url, std::string_view body, const Headers& headers) {
  if (!fiber::on_fiber()) throw std::logic_error("a call of http::Client outside a fiber");
  return state_->call(make_request(method, url, body, headers));
}

}  // namespace penstock::http
