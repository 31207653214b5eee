#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <boost/context/detail/exception.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "runtime/http/message.h"
#include "runtime/http/request_reader.h"
#include "runtime/http/request_state.h"
#include "runtime/http/server_state.h"
#include "runtime/registry.h"
#include "runtime/runtime_state.h"

namespace penstock::http {
namespace {

using boost::system::error_code;
using decision::Priority;

// Nginx's code for a client that left before its answer; only metrics see it.
constexpr int kClientLeft = 499;
// Header and body go out from one buffer up to this body size, and from two in one call beyond.
constexpr std::size_t kCopiedBody = 16 * 1024;
// After an answer that leaves the rest of a request unread: a close right away would reset the connection, and the
// client might never see the answer.
constexpr auto kLinger = std::chrono::seconds(1);
constexpr std::size_t kLingerBytes = 1024 * 1024;
// For the last word to a client when the server's patience with its request has ended.
constexpr auto kLastWord = std::chrono::seconds(1);

class Connection : private OpenConnection {
 public:
  Connection(ServerState& server, net::Socket socket, const net::Endpoint& peer, ServerState::Place place)
      : server_(server),
        thread_(*server.threads[fiber::thread_index()]),
        place_(std::move(place)),
        socket_(std::move(socket)),
        reader_(socket_, server.options),
        peer_(peer.to_string()) {
    fiber = &fiber::current();
    fd = socket_.fd();
    thread_.connections.push_back(*this);
  }

  void serve() {
    Duration patience = server_.options.header_timeout;
    while (!thread_.draining || fresh || reader_.buffered()) {
      idle = true;
      const auto first = reader_.wait_first_byte(patience);
      idle = false;
      if (first == RequestReader::First::closed) return;
      if (first == RequestReader::First::timeout) {
        if (fresh) refuse({408, "no request came"});
        return;
      }
      fresh = false;
      if (!serve_request()) return;
      patience = server_.options.idle_timeout;
    }
  }

 private:
  struct Answer {
    Response response;
    Route* route = nullptr;
    Priority priority = Priority::normal;
    std::optional<RejectReason> rejected;
    // Written though the fiber is cancelled.
    bool last_word = false;
  };

  // True: the connection goes on.
  bool serve_request() {
    const RuntimeAccess::Work work(server_.runtime);
    switch (reader_.read()) {
      case RequestReader::Result::closed:
        return false;
      case RequestReader::Result::refused:
        refuse(reader_.refusal());
        return false;
      case RequestReader::Result::request:
        break;
    }
    begin_account();
    Answer answer;
    try {
      answer = this->answer();
    } catch (...) {
      fiber::set_account(nullptr);
      throw;
    }
    const bool keep = !client_left_ && finish(answer);
    end_account(answer);
    return keep;
  }

  void begin_account() {
    if (!account_ || account_.use_count() > 1) {
      account_ = std::make_shared<fiber::RequestAccount>();
    } else {
      account_->running = account_->ready = Duration::zero();
      account_->waiting.clear();
    }
    fiber::set_account(account_);
  }

  void end_account(const Answer& answer) {
    fiber::set_account(nullptr);
    if (answer.route != nullptr && answer.route->auxiliary) return;
    RouteMetrics& metrics = thread_.metrics(server_.runtime.metrics(), answer.route);
    metrics.finished(client_left_ ? kClientLeft : answer.response.status, answer.priority,
                     std::max(fiber::cached_now() - reader_.arrived(), Duration::zero()));
    if (answer.rejected && !client_left_) metrics.rejected(answer.priority, *answer.rejected);
    metrics.account(*account_);
  }

  Answer answer() {
    const auto& message = reader_.message();
    ServerAccess::RequestState request;
    request.method = {message.method_string().data(), message.method_string().size()};
    request.target = {message.target().data(), message.target().size()};
    request.path = path_of(request.target);
    request.fields = &message;
    request.body = message.body();
    request.peer = peer_;

    Answer answer;
    answer.route = server_.router.find(request.path, request.params);
    if (answer.route == nullptr) {
      answer.response = Response::text("not found\n", 404);
      return answer;
    }
    const Handler* handler = answer.route->handler(request.method);
    if (handler == nullptr) {
      answer.response = Response::text("method not allowed\n", 405);
      answer.response.headers.emplace_back("Allow", answer.route->allowed());
      return answer;
    }
    // A connection that was idle when the drain began looks hung up, see ServerState::drain_thread().
    const bool watched = server_.options.cancel_on_disconnect && !thread_.draining;
    if (watched) {
      socket_.on_hangup([this] {
        client_left_ = true;
        fiber::cancel(*fiber);
      });
    }
    run(*handler, ServerAccess::request(request), answer);
    if (watched) socket_.on_hangup({});
    return answer;
  }

  void run(const Handler& handler, const Request& request, Answer& answer) {
    try {
      if (!server_.options.admission || answer.route->auxiliary) {
        answer.response = handler(request);
      } else {
        const RouteDecision decided = RuntimeAccess::state(server_.runtime).registry->route(request.path());
        answer.priority = decided.priority;
        const DeadlineScope deadline(decided.deadline ? reader_.arrived() + *decided.deadline : Instant::max());
        const Pool::Permit permit = decided.pool->acquire(decided.priority);
        answer.response = handler(request);
      }
      if (!header_is_sound(answer.response))
        throw std::invalid_argument("a response with a malformed status or header");
    } catch (const boost::context::detail::forced_unwind&) {
      throw;
    } catch (const Rejected& e) {
      answer.rejected = e.reason();
      answer.response = Response::text(std::string(e.what()) + "\n", 503);
      const auto seconds = std::chrono::ceil<std::chrono::seconds>(e.retry_after()).count();
      answer.response.headers.emplace_back("Retry-After", std::to_string(std::max<std::int64_t>(1, seconds)));
    } catch (const DeadlineExceeded&) {
      answer.response = Response::text("deadline exceeded\n", 504);
    } catch (const Cancelled&) {
      answer.response = Response::text("stopping\n", 503);
      answer.response.headers.emplace_back("Retry-After", "1");
      answer.last_word = true;
    } catch (const CallError& e) {
      answer.response = Response::text("bad gateway\n", 502);
      log_failure(*answer.route, e.what());
    } catch (const std::exception& e) {
      answer.response = Response::text("internal error\n", 500);
      log_failure(*answer.route, e.what());
    } catch (...) {
      answer.response = Response::text("internal error\n", 500);
      log_failure(*answer.route, "an exception of unknown type");
    }
  }

  static void log_failure(Route& route, const char* what) {
    const std::int64_t second =
        std::chrono::duration_cast<std::chrono::seconds>(fiber::cached_now().time_since_epoch()).count();
    if (route.logged_second.exchange(second, std::memory_order_relaxed) == second) return;
    spdlog::error("route {}: {}", route.pattern, what);
  }

  // Writes the answer. True: the connection goes on.
  bool finish(Answer& answer) {
    const auto& message = reader_.message();
    const bool keep = reader_.keep_alive() && !thread_.draining && !answer.last_word && !server_.runtime.draining() &&
                      !list_has(answer.response.header("Connection"), "close");
    const Persistence persistence = !keep                    ? Persistence::close
                                    : message.version() < 11 ? Persistence::keep_explicit
                                                             : Persistence::keep;
    const bool with_body =
        message.method() != boost::beast::http::verb::head && status_has_body(answer.response.status);
    try {
      if (answer.last_word) {
        const CancelShield shield;
        const DeadlineScope deadline(std::chrono::steady_clock::now() + kLastWord);
        write(answer.response, with_body, persistence);
        return false;
      }
      return write(answer.response, with_body, persistence) && keep;
    } catch (const Cancelled&) {
      return false;
    } catch (const DeadlineExceeded&) {
      return false;
    }
  }

  bool write(const Response& response, bool with_body, Persistence persistence) {
    out_.clear();
    append_head(out_, response, response.body.size(), persistence);
    std::string_view body = with_body ? std::string_view(response.body) : std::string_view();
    if (body.size() <= kCopiedBody) {
      out_ += body;
      body = {};
    }
    std::string_view head = out_;
    socket_.set_io_timeout(server_.options.io_timeout);
    error_code ec;
    while (!head.empty() || !body.empty()) {
      std::size_t sent;
      if (body.empty()) {
        sent = socket_.write_some(boost::asio::const_buffer(head.data(), head.size()), ec);
      } else {
        sent = socket_.write_some(std::array{boost::asio::const_buffer(head.data(), head.size()),
                                             boost::asio::const_buffer(body.data(), body.size())},
                                  ec);
      }
      if (ec) return false;
      const std::size_t of_head = std::min(sent, head.size());
      head.remove_prefix(of_head);
      body.remove_prefix(sent - of_head);
    }
    return true;
  }

  // Answers what is no request, and leaves.
  void refuse(const RequestReader::Refusal& refusal) {
    thread_.metrics(server_.runtime.metrics(), nullptr).finished(refusal.status, Priority::normal, Duration::zero());
    if (!write(Response::text(refusal.why + "\n", refusal.status), true, Persistence::close)) return;
    linger();
  }

  void linger() {
    socket_.shutdown_send();
    const Instant until = std::chrono::steady_clock::now() + kLinger;
    std::array<char, 4096> waste;
    for (std::size_t read = 0; read < kLingerBytes;) {
      const Duration left = until - std::chrono::steady_clock::now();
      if (left <= Duration::zero()) return;
      socket_.set_io_timeout(left);
      error_code ec;
      read += socket_.read_some(boost::asio::buffer(waste), ec);
      if (ec) return;
    }
  }

  ServerState& server_;
  ServerThread& thread_;
  const ServerState::Place place_;
  net::Socket socket_;
  RequestReader reader_;
  const std::string peer_;
  std::shared_ptr<fiber::RequestAccount> account_;
  std::string out_;
  bool client_left_ = false;
};

}  // namespace

void serve_connection(ServerState& server, net::Socket socket, const net::Endpoint& peer, ServerState::Place place) {
  try {
    Connection(server, std::move(socket), peer, std::move(place)).serve();
  } catch (const Cancelled&) {
  }
}

}  // namespace penstock::http
