#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/http_client.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"
#include "runtime/http/call_head.h"
#include "runtime/http/client_pool.h"

namespace penstock::net {
class TlsClientContext;
}

namespace penstock::http {

struct Client::State : std::enable_shared_from_this<Client::State> {
  State(Runtime& runtime, ClientOptions given);

  // Of the calling fiber's thread; a fiber tends it from now on.
  ClientPool& pool();
  Response call(ClientHost& host, const CallHead& head, std::string_view body);
  Response attempt(Upstream& upstream, ClientHost& host, const CallHead& head, std::string_view body);
  Response exchange(Upstream& upstream, ClientHost& host, const CallHead& head, std::string_view body);
  // Counts the wait if it has to wait for a connection.
  ClientHost::Lease acquire(Upstream& upstream, ClientHost& host);
  std::unique_ptr<ClientConnection> connect(const ClientHost& host);

  // Runs fn as part of a call: its waits end at the call's deadline. What it throws ends the call with the outcome that
  // it stands for, and names the upstream.
  template <class F>
  auto part(Upstream& upstream, ClientHost& host, Upstream::Call& call, F&& fn);
  // Ends a call that was answered, when its connection has been given back.
  void answered(Upstream& upstream, ClientHost& host, Upstream::Call& call, const Response& response);
  // Both log, for each host and thread at most once a second.
  void log_failure(const Upstream& upstream, ClientHost& host, std::string_view outcome, std::string_view why);
  void report_unasked(const Upstream& upstream, ClientHost& host);

  Runtime& runtime;
  const Registry& registry;
  const ClientOptions options;
  // The client is gone.
  Event closed;

 private:
  void tend(ClientPool& pool);
  net::TlsClientContext& tls();

  std::mutex tls_mutex_;
  std::unique_ptr<net::TlsClientContext> tls_;
  std::vector<ClientPool> pools_;
};

template <class F>
auto Client::State::part(Upstream& upstream, ClientHost& host, Upstream::Call& call, F&& fn) {
  const auto failed = [&](CallOutcome outcome, std::string_view name, const std::exception& e) {
    call.finish(outcome);
    log_failure(upstream, host, name, e.what());
    return "upstream " + upstream.name() + ": " + e.what();
  };
  try {
    const DeadlineScope deadline(call.deadline());
    return std::forward<F>(fn)();
  } catch (const DeadlineExceeded& e) {
    throw DeadlineExceeded(failed(CallOutcome::timeout, "timeout", e));
  } catch (const Cancelled&) {
    call.finish(CallOutcome::cancelled);
    throw;
  } catch (const CallError& e) {
    throw CallError(failed(CallOutcome::error, "error", e));
  } catch (...) {
    call.finish(CallOutcome::error);
    throw;
  }
}

// Whether a request on a kept connection that failed may be sent again on a new one: the server may have closed it
// while the request was on its way, as it may with any idle connection.
inline bool may_send_again(const ClientConnection& kept, const CallHead& head) {
  return !kept.answered() && (head.idempotent || !kept.sent_any());
}

}  // namespace penstock::http
