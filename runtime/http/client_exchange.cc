#include "runtime/http/client_exchange.h"

#include <optional>
#include <stdexcept>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/http/response_parser.h"

namespace penstock::http {
namespace {

// Waits of the calling fiber count as waits for an upstream while this lives, and not between the steps of a call.
class Attributed {
 public:
  explicit Attributed(const std::string* upstream) : before_(std::exchange(fiber::current().upstream, upstream)) {}
  ~Attributed() { fiber::current().upstream = before_; }
  Attributed(const Attributed&) = delete;

 private:
  const std::string* before_;
};

SentBody sent_body(bool chunked, bool sized, std::uint64_t size) {
  if (chunked) return {SentBody::Kind::chunked, 0};
  if (sized) return {SentBody::Kind::sized, size};
  return {};
}

}  // namespace

struct ClientExchange::State {
  State(std::shared_ptr<Client::State> client, ClientHost& host, Upstream& upstream)
      : client(std::move(client)), pin(host), host(host), upstream(upstream) {}
  ~State() {
    if (!call) return;
    const Attributed attributed(&upstream.name());
    lease.connection.reset();
    call->finish(CallOutcome::cancelled);
  }
  State(const State&) = delete;

  void begin();
  bool write(std::string_view piece);
  void finish(const Headers& with);
  void receive_head();
  std::size_t read(char* data, std::size_t size);

  // One step of the call. What it throws ends the call.
  template <class F>
  auto step(F&& fn) {
    if (!call) throw CallError("upstream " + upstream.name() + ": the call has ended");
    const Attributed attributed(&upstream.name());
    try {
      return client->part(upstream, host, *call, std::forward<F>(fn));
    } catch (...) {
      call.reset();
      lease.connection.reset();
      lease.release();
      throw;
    }
  }
  // Sends by `fn`; if nothing can be sent on a kept connection, on a new one.
  template <class F>
  bool send(F&& fn);
  void reconnect();
  void complete();

  // In the order in which they depend on each other.
  const std::shared_ptr<Client::State> client;
  const ClientHost::Pin pin;
  ClientHost& host;
  Upstream& upstream;
  std::string method;
  std::string target;
  Headers headers;
  CallHead head;
  std::optional<Upstream::Call> call;
  ClientHost::Lease lease;
  bool kept = false;

  // Of the request's body.
  std::uint64_t left = 0;
  bool finished = false;

  Response response;
  Headers trailers;
  std::optional<ResponseParser> parser;
  bool head_received = false;
  // The answer has come to its end.
  bool complete_ = false;
};

void ClientExchange::State::begin() {
  // The call's own attribution is for calls that are made in one piece.
  const Attributed between(fiber::current().upstream);
  call.emplace(upstream.begin());
  step([&] {
    lease = client->acquire(upstream, host);
    kept = lease.connection != nullptr;
    if (!kept) lease.connection = client->connect(host);
    lease.connection->begin(head);
  });
}

void ClientExchange::State::reconnect() {
  lease.connection.reset();
  lease.connection = client->connect(host);
  lease.connection->begin(head);
  kept = false;
}

template <class F>
bool ClientExchange::State::send(F&& fn) {
  if (fn()) return true;
  if (!kept || lease.connection->sent_any()) return false;
  reconnect();
  return fn();
}

bool ClientExchange::State::write(std::string_view piece) {
  if (complete_) return false;
  if (head.body.kind == SentBody::Kind::none || finished) throw std::logic_error("a body that has ended is written to");
  if (head.body.kind == SentBody::Kind::sized) {
    if (piece.size() > left) throw std::length_error("more of a body than was announced");
    left -= piece.size();
  }
  // An empty chunk would be the last one.
  if (piece.empty()) return true;
  return step([&] {
    return send([&] {
      ClientConnection& connection = *lease.connection;
      return head.body.kind == SentBody::Kind::sized ? connection.send(piece) : connection.send_chunk(piece);
    });
  });
}

void ClientExchange::State::finish(const Headers& with) {
  if (finished || complete_) return;
  const bool chunked = head.body.kind == SentBody::Kind::chunked;
  if (!chunked && !with.empty()) throw std::logic_error("trailers of a body that has no chunks");
  if (left > 0) throw std::logic_error("less of a body than was announced");
  check_fields(with);
  step([&] { send([&] { return chunked ? lease.connection->send_last_chunk(with) : lease.connection->flush(); }); });
  finished = true;
}

void ClientExchange::State::receive_head() {
  if (head_received) return;
  if (head.body.kind != SentBody::Kind::chunked && left == 0) finish({});
  step([&] {
    if (!finished) send([&] { return lease.connection->flush(); });
    const auto receive = [&] {
      for (int interim = 0; interim <= kInterimAnswers; ++interim) {
        response.headers.clear();
        parser.emplace(response, trailers, ResponseParser::Body::streamed);
        parser->header_limit(client->options.max_header_bytes);
        parser->body_limit(std::nullopt);
        if (head.is_head) parser->skip_body();
        while (!parser->is_header_done()) lease.connection->advance(*parser);
        if (response.status == 101)
          lease.connection->fail("malformed answer: a change of protocol that nobody asked for");
        if (response.status >= 200) return;
      }
      lease.connection->fail("malformed answer: too many interim ones");
    };
    if (kept && head.body.kind == SentBody::Kind::none) {
      try {
        return receive();
      } catch (const CallError&) {
        if (!may_send_again(*lease.connection, head)) throw;
      }
      reconnect();
      lease.connection->flush();
    }
    receive();
  });
  head_received = true;
  if (parser->is_done()) complete();
}

std::size_t ClientExchange::State::read(char* data, std::size_t size) {
  if (size == 0) throw std::invalid_argument("no room to read to");
  receive_head();
  if (complete_) return 0;
  step([&] {
    parser->set_room(data, size);
    while (!parser->is_done() && parser->filled() == 0) lease.connection->advance(*parser, data, size);
  });
  const std::size_t n = parser->filled();
  if (parser->is_done()) complete();
  return n;
}

void ClientExchange::State::complete() {
  complete_ = true;
  const Attributed attributed(&upstream.name());
  lease.connection->end(*parser);
  // The rest of the request is not sent any more.
  if (!finished) lease.connection.reset();
  lease.release();
  client->answered(upstream, host, *call, response);
  call.reset();
}

ClientExchange ClientAccess::open(const std::shared_ptr<Client::State>& client, std::string_view method,
                                  std::string_view url, const Headers& headers, BodyLength body) {
  const SentBody sent =
      sent_body(body.kind_ == BodyLength::Kind::chunked, body.kind_ == BodyLength::Kind::sized, body.size_);
  make_call_head(method, headers, sent);
  std::string_view target;
  std::string own_target;
  ClientHost& host = client->pool().host(url, target, own_target, client->options.max_idle);
  auto state = std::make_unique<ClientExchange::State>(client, host, host.upstream(client->registry));
  state->method = method;
  state->target = target;
  state->headers = headers;
  state->left = sent.size;
  state->head = make_call_head(state->method, state->headers, sent);
  state->head.target = state->target;
  state->head.authority = host.target.authority;
  state->head.forward_deadline = client->options.forward_deadline;
  state->begin();
  return ClientExchange(std::move(state));
}

ClientExchange::ClientExchange(std::unique_ptr<State> state) : state_(std::move(state)) {}
ClientExchange::ClientExchange(ClientExchange&&) noexcept = default;
ClientExchange& ClientExchange::operator=(ClientExchange&&) noexcept = default;
ClientExchange::~ClientExchange() = default;

bool ClientExchange::write(std::string_view piece) { return state_->write(piece); }
void ClientExchange::finish(const Headers& trailers) { state_->finish(trailers); }
const Response& ClientExchange::head() {
  state_->receive_head();
  return state_->response;
}
std::size_t ClientExchange::read(char* data, std::size_t size) { return state_->read(data, size); }
const Headers& ClientExchange::trailers() const { return state_->trailers; }

}  // namespace penstock::http
