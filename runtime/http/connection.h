#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/task.h"
#include "runtime/http/server_state.h"
#include "runtime/http/server_thread.h"
#include "runtime/net/socket.h"
#include "runtime/net/tls_stream.h"

namespace penstock::http {

struct Refusal;
class RequestHead;

// A client's connection, from accept to close. Between requests it waits in the reactor; when bytes arrive it becomes a
// fiber, which serves all requests that have come and ends. Belongs to its thread; destroys itself.
class Connection final : public StageHook, private fiber::Task, private net::SocketObserver {
 public:
  // Waits for the first request. The caller has a fiber. May throw std::bad_alloc.
  static void open(ServerThread& thread, net::Socket socket, net::Endpoint peer, ServerState::Place place);

  // Of the thread that owns it.
  Stage stage() const noexcept { return stage_; }
  void set_stage(Stage stage) noexcept {
    stage_ = stage;
    since_ = fiber::cached_now();
  }
  Instant since() const noexcept { return since_; }
  // It waited for too long.
  void expire() noexcept;
  // Serves what has come, and else closes.
  void look() noexcept { start(); }
  void close() noexcept { delete this; }

  // For the request that is being served.
  ServerThread& thread() const noexcept { return thread_; }
  const ServerOptions& options() const noexcept { return thread_.server.options; }
  const net::Endpoint& peer() const noexcept { return peer_; }
  // Null: without TLS.
  const net::TlsStream* tls() const noexcept { return secure_ ? &secure_->tls : nullptr; }

  // What was received and is not consumed yet. In memory that the thread's connections share, until keep_input(): to be
  // called before any wait.
  std::string_view input() const noexcept { return input_; }
  void consume(std::size_t bytes) noexcept { input_.remove_prefix(bytes); }
  void keep_input();
  // The same, where the input need not be at the begin of the connection's own memory.
  void keep_shared_input() {
    if (!input_.empty() && !owns_input()) keep_input();
  }
  // What dumps and logs name beside the client; null: nothing.
  void set_serving(const RequestHead* head) noexcept { serving_ = head; }
  // Adds to the input: at least one byte, or an error. Waits at most that long: boost::asio::error::timed_out.
  void receive(Duration timeout, boost::system::error_code& ec);

  // Sends all of it. False: the client has gone, or does not read. Neither needs to stay as it is during the call: the
  // head may be shared() memory.
  bool send(std::string_view head, std::string_view body = {});
  // Of the thread, for the text of one answer: no wait between filling and sending it.
  static std::string& shared_text();

  // While this lives, a client that leaves cancels the calling fiber.
  class HangupWatch {
   public:
    explicit HangupWatch(Connection& connection);
    ~HangupWatch();
    HangupWatch(const HangupWatch&) = delete;

   private:
    Connection& connection_;
  };
  bool client_left() const noexcept { return client_left_; }
  void set_client_left() noexcept { client_left_ = true; }

  // Hands over what it reads and writes, and its place; the connection is of no further use.
  std::unique_ptr<net::Stream> hand_over();

  // How a request, or the wait for one, ended.
  enum class Next { again, park, incomplete, close, linger };

 private:
  Connection(ServerThread& thread, net::Socket socket, net::Endpoint peer, ServerState::Place place);
  ~Connection();

  void run() noexcept override;
  void describe(fiber::TaskName& name) const noexcept override;
  void refused(std::exception_ptr why) noexcept override;
  void on_readable(bool left) noexcept override;

  void start() noexcept;
  Next serve() noexcept;
  Next serve_next();
  Next refuse(const Refusal& refusal);
  // What a request in flight needs of its stack counts: what happens seldom stays out of its callers' frames.
  [[gnu::noinline]] Next refuse(int status, const char* why);
  [[gnu::noinline]] void log_failure(const std::exception& e) const noexcept;
  Next left_early();
  void linger() noexcept;
  void park(Stage stage);
  void receive_now(boost::system::error_code& ec);
  void collect_header() noexcept;
  void discard() noexcept;
  void append_input(const char* data, std::size_t size);
  void check_hangup() noexcept;
  void shake_hands();
  // What a proxy says of it.
  void learn_peer();
  bool has_input();
  bool owns_input() const noexcept { return input_.data() >= own_.data() && input_.data() < own_.data() + own_.size(); }
  net::Socket& socket() noexcept { return secure_ ? secure_->socket : socket_; }
  net::Stream& stream() noexcept {
    if (secure_) return secure_->tls;
    return socket_;
  }

  // TLS refers to its socket, so the two stay together.
  struct Secure {
    Secure(net::Socket plain, const net::TlsServerContext& context) : socket(std::move(plain)), tls(socket, context) {}
    net::Socket socket;
    net::TlsStream tls;
  };

  ServerThread& thread_;
  ServerState::Place place_;
  // Without TLS.
  net::Socket socket_;
  std::unique_ptr<Secure> secure_;
  net::Endpoint peer_;
  // The view is into own_, or into the thread's buffer.
  std::string_view input_;
  std::string own_;
  // When it entered its stage.
  Instant since_;
  // For the next request.
  Instant waits_since_;
  // When the first part of a header came that is not complete yet.
  Instant header_began_{};
  // Of the fiber to cancel when the client leaves; null: none.
  fiber::FiberState* watching_ = nullptr;
  const RequestHead* serving_ = nullptr;
  std::uint32_t discarded_ = 0;
  Stage stage_ = Stage::fresh;
  std::uint16_t served_ = 0;
  std::uint8_t blanks_ = 0;
  bool had_request_ = false;
  bool peer_known_ = false;
  bool expired_ = false;
  bool client_left_ = false;
};

}  // namespace penstock::http
