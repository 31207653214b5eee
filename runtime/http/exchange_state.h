#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "penstock/fiber.h"
#include "penstock/http_exchange.h"
#include "penstock/pool.h"
#include "runtime/http/connection.h"
#include "runtime/http/message.h"
#include "runtime/http/request_parser.h"
#include "runtime/http/request_state.h"
#include "runtime/http/router.h"

namespace penstock::http {

// One request of a connection, from its header to the end of its answer. Lives on the stack of its fiber.
struct Exchange::State {
  State(Connection& connection, RequestParser& parser);

  // Serves it, whatever happens.
  Connection::Next serve();
  // Its place, its deadline and its account are no longer the handler's. At most once counts.
  void end_request();

  // --- the request's body

  // The whole of it, for a plain handler. Throws RequestError.
  void read_body();
  std::string_view read_piece();
  // Receives until the parser has got on; the end of the stream, or of the client's time, throws.
  void receive_body(Duration timeout);
  // Gives the parser what has come; true: it waits for the rest of something.
  bool parse_body();
  void check_rest();
  // Of a body that is large, and has yet to come, while the node's memory is short. Throws Rejected.
  void check_memory();
  // Answers, logs, and closes.
  [[noreturn]] void refuse_body(int code, const std::string& why);
  void send_continue();

  // --- the answer

  void start(int status, const Headers& headers, std::optional<std::uint64_t> length);
  void write(std::string_view data);
  void flush();
  void finish(const Headers& trailers);
  void respond(const Response& response);
  // Throws Cancelled when it cannot be sent.
  void send(std::string_view head, std::string_view body = {});
  std::unique_ptr<net::Stream> upgrade(const Headers* headers);

  Connection& connection;
  RequestParser& parser;
  Request::State request;
  Request view{request};
  Exchange exchange{*this};
  const Instant arrived;

  Route* route = nullptr;
  decision::Priority priority = decision::Priority::normal;
  std::optional<RejectReason> rejected;

  bool continue_sent = false;
  // Set when the connection cannot carry another request.
  bool close = false;
  bool handed_over = false;
  // What holds while it is a request; null outside of the handler's call.
  struct Bounds {
    std::optional<Connection::HangupWatch> hangup;
    Pool::Permit permit;
    std::optional<DeadlineScope> deadline;
    void end() {
      permit = {};
      deadline.reset();
      hangup.reset();
    }
  };
  Bounds* bounds = nullptr;
  // Null after end_request().
  std::shared_ptr<fiber::RequestAccount> account;

  int status = 0;
  bool started = false;
  bool finished = false;
  bool with_body = false;
  Framing framing;
  std::uint64_t body_limit;
  bool told_of_memory = false;
  std::uint64_t written = 0;
  // Of an answer in pieces, not sent yet.
  std::string pending;

 private:
  void route_and_handle();
  void handle(const RouteHandler& handler);
  Persistence persistence();
  void fail(int code, std::string text, std::optional<Duration> retry_after = std::nullopt);
  void log_failure(const char* what);
  void count();
};

}  // namespace penstock::http
