#include "examples/websocket/chat.h"

#include <penstock/fiber.h>
#include <penstock/group.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "examples/websocket/sync_stream.h"

namespace chat {
namespace {

namespace beast = boost::beast;
namespace http = penstock::http;
using boost::system::error_code;
using std::chrono::steady_clock;

using WebSocket = beast::websocket::stream<SyncStream>;
using CloseCode = Outbox::CloseCode;

// For the client's part of a closing handshake.
constexpr auto kFarewell = std::chrono::seconds(2);

// Rooms by name, each for as long as somebody is in it.
class Rooms {
 public:
  std::shared_ptr<Outboxes> enter(const std::string& name) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<Outboxes>& known = rooms_[name];
    if (auto room = known.lock()) return room;
    auto room = std::make_shared<Outboxes>();
    known = room;
    std::erase_if(rooms_, [](const auto& entry) { return entry.second.expired(); });
    return room;
  }

 private:
  penstock::Mutex mutex_;
  std::map<std::string, std::weak_ptr<Outboxes>> rooms_;
};

bool is_own_page(const http::Request& request) {
  const std::string_view origin = request.header("Origin");
  if (origin.empty()) return true;
  const std::size_t host = origin.find("://");
  return host != origin.npos && origin.substr(host + 3) == request.header("Host");
}

// What Beast needs to answer a handshake that was read by somebody else.
beast::http::request<beast::http::empty_body> handshake(const http::Request& request) {
  beast::http::request<beast::http::empty_body> copy;
  copy.method_string(request.method());
  copy.target(request.target());
  for (const auto& [name, value] : request.headers()) copy.insert(name, value);
  return copy;
}

// One connection: a fiber of its own reads, this one writes what the outbox has for it.
class Session {
 public:
  using Heard = std::function<void(Message, Outbox&)>;

  Session(http::Exchange& exchange, const Options& options)
      : options_(options),
        request_(handshake(exchange.request())),
        socket_(exchange.take_over(), options.write_timeout) {
    socket_.read_message_max(options.max_message_bytes);
    // Of what is written: a message is a frame.
    socket_.auto_fragment(false);
    socket_.control_callback([this](beast::websocket::frame_type, std::string_view) { silent_ = false; });
  }

  void run(Outboxes& all, Outboxes* room) {
    error_code ec;
    socket_.accept(request_, ec);
    if (ec) return;
    request_ = {};
    const Outboxes::Membership in_all(all, outbox_);
    std::optional<Outboxes::Membership> in_room;
    if (room != nullptr) in_room.emplace(*room, outbox_);
    penstock::Group reader;
    reader.spawn("websocket reader", [this, room] { read(room); });
    if (!write() || outbox_.why() == CloseCode::none) return;
    // The closing handshake reads: one at a time.
    reader.cancel();
    reader.join();
    const penstock::DeadlineScope patience(steady_clock::now() + kFarewell);
    socket_.close(outbox_.why(), ec);
  }

 private:
  // Until the connection ends, for whatever reason.
  void read(Outboxes* room) {
    struct AtEnd {
      ~AtEnd() { outbox.messages.close(); }
      Outbox& outbox;
    } const at_end{outbox_};
    beast::flat_buffer buffer;
    error_code ec;
    while (socket_.read(buffer, ec), !ec) {
      silent_ = false;
      Message message{std::make_shared<const std::string>(beast::buffers_to_string(buffer.data())),
                      socket_.got_binary()};
      // An idle connection keeps no buffer.
      buffer = {};
      if (room != nullptr) {
        room->send(message);
      } else if (!outbox_.messages.push(std::move(message))) {
        return;
      }
    }
  }

  // Until the outbox is closed. False: the client does not take it.
  bool write() {
    error_code ec;
    while (true) {
      if (const auto message = outbox_.messages.pop_until(steady_clock::now() + options_.ping_every)) {
        socket_.binary(message->binary);
        socket_.write(boost::asio::buffer(*message->content), ec);
      } else if (outbox_.messages.closed()) {
        return true;
      } else if (std::exchange(silent_, true)) {
        return false;
      } else {
        socket_.ping({}, ec);
      }
      if (ec) return false;
    }
  }

  const Options options_;
  beast::http::request<beast::http::empty_body> request_;
  WebSocket socket_;
  Outbox outbox_;
  // Since the last ping.
  bool silent_ = false;
};

}  // namespace

Chat::Chat(penstock::Runtime& runtime, penstock::http::Server& server, Options options)
    : all_(std::make_shared<Outboxes>()) {
  const auto serve = [all = all_, options](http::Exchange& exchange, Outboxes* room) {
    if (!options.any_origin && !is_own_page(exchange.request()))
      throw http::RequestError(403, "a page of another host");
    // From here on the connection is no request: neither the deadline nor the pool of its route bind it.
    const auto session = std::make_unique<Session>(exchange, options);
    try {
      session->run(*all, room);
    } catch (const penstock::DeadlineExceeded&) {
      // A client that does not read.
    }
  };
  server.route("GET", "/echo", http::StreamHandler([serve](http::Exchange& exchange) { serve(exchange, nullptr); }));
  server.route("GET", "/room/{name}",
               http::StreamHandler([serve, rooms = std::make_shared<Rooms>()](http::Exchange& exchange) {
                 const auto room = rooms->enter(std::string(exchange.request().param("name")));
                 serve(exchange, room.get());
               }));
  runtime.on_drain([all = all_] { all->end(CloseCode::going_away); });
}

}  // namespace chat
