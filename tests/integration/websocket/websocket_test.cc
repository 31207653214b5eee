#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "examples/websocket/chat.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace chat {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace ws = beast::websocket;
using boost::system::error_code;
using penstock::http::eventually;
using penstock::http::RawSocket;
using std::chrono::milliseconds;

// Beast's, on blocking sockets.
class Client {
 public:
  // With a receive buffer of about that many bytes; 0: the system's.
  Client(std::uint16_t port, const std::string& path, int receive_buffer) : socket(context_) {
    auto& tcp = beast::get_lowest_layer(socket);
    tcp.open(asio::ip::tcp::v4());
    if (receive_buffer != 0) tcp.set_option(asio::socket_base::receive_buffer_size(receive_buffer));
    tcp.set_option(asio::ip::tcp::no_delay(true));
    tcp.connect({asio::ip::address_v4::loopback(), port});
    const timeval limit{10, 0};
    ::setsockopt(tcp.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    socket.handshake("localhost", path);
  }
  void say(const std::string& text) {
    socket.text(true);
    socket.write(asio::buffer(text));
  }
  // Empty when the connection has ended; see why().
  std::string hear() {
    beast::flat_buffer buffer;
    socket.read(buffer, error);
    return error ? "" : beast::buffers_to_string(buffer.data());
  }
  std::uint16_t why() const { return socket.reason().code; }

 private:
  asio::io_context context_;

 public:
  ws::stream<asio::ip::tcp::socket> socket;
  error_code error;
};

class WebSocketService : public ::testing::Test {
 protected:
  void serve(Options options = {}, unsigned threads = 2) {
    runtime.emplace(threads);
    server.emplace(**runtime, penstock::http::ServerOptions{.port = 0});
    chat.emplace(**runtime, *server, options);
    runtime->start();
    // Acceptors, keepers, the ticker.
    at_rest = 2 * threads + 1;
    ASSERT_TRUE(eventually([&] { return fibers() == at_rest; }));
  }
  std::uint64_t fibers() { return (*runtime)->stats().fibers; }
  std::unique_ptr<Client> connect(const std::string& path = "/echo", int receive_buffer = 0) {
    return std::make_unique<Client>(server->port(), path, receive_buffer);
  }

  std::optional<penstock::http::RunningRuntime> runtime;
  std::optional<penstock::http::Server> server;
  std::optional<Chat> chat;
  std::uint64_t at_rest = 0;
};

TEST_F(WebSocketService, EchoesTextAndBinary) {
  serve();
  const auto client = connect();
  client->say("hello");
  EXPECT_EQ(client->hear(), "hello");
  EXPECT_TRUE(client->socket.got_text());
  const std::string bytes("\x00\xff\x80", 3);
  client->socket.binary(true);
  client->socket.write(asio::buffer(bytes));
  EXPECT_EQ(client->hear(), bytes);
  EXPECT_TRUE(client->socket.got_binary());
  client->say("");
  EXPECT_EQ(client->hear(), "");
  EXPECT_FALSE(client->error);
  const std::string large(60'000, 'x');
  client->say(large);
  EXPECT_EQ(client->hear(), large);
}

TEST_F(WebSocketService, AnswersPingsAlsoAmongTheFragmentsOfAMessage) {
  serve();
  const auto client = connect();
  std::string pong;
  client->socket.control_callback([&](ws::frame_type type, beast::string_view payload) {
    if (type == ws::frame_type::pong) pong = payload;
  });
  client->socket.text(true);
  client->socket.write_some(false, asio::buffer("one ", 4));
  client->socket.ping("are you there?");
  client->socket.write_some(false, asio::buffer("two ", 4));
  client->socket.write_some(true, asio::buffer("three", 5));
  EXPECT_EQ(client->hear(), "one two three");
  EXPECT_EQ(pong, "are you there?");
}

TEST_F(WebSocketService, AnswersTheClosingHandshakeAndLeavesNothingBehind) {
  serve();
  for (const auto code : {ws::close_code::normal, ws::close_code::going_away}) {
    const auto client = connect();
    client->say("hello");
    EXPECT_EQ(client->hear(), "hello");
    EXPECT_EQ(chat->connections(), 1u);
    client->socket.close(code, client->error);
    EXPECT_FALSE(client->error) << client->error.message();
    EXPECT_EQ(client->why(), code);
  }
  // And without one.
  connect()->say("cut off");
  EXPECT_TRUE(eventually([&] { return chat->connections() == 0 && fibers() == at_rest; }));
}

TEST_F(WebSocketService, ClosesWhatBreaksTheRules) {
  serve({.max_message_bytes = 1000});
  const auto too_large = connect();
  too_large->say(std::string(1001, 'x'));
  too_large->hear();
  EXPECT_EQ(too_large->why(), ws::close_code::too_big);
  const auto no_text = connect();
  no_text->say("\xff");
  no_text->hear();
  EXPECT_EQ(no_text->why(), ws::close_code::bad_payload);
  EXPECT_TRUE(eventually([&] { return fibers() == at_rest; }));
}

TEST_F(WebSocketService, RefusesWhatIsNoHandshakeAndPagesOfOtherHosts) {
  serve();
  RawSocket plain = RawSocket::connect(server->port());
  EXPECT_EQ(plain.ask("GET /echo HTTP/1.1\r\nHost: t\r\n\r\n").status, 400);
  const auto with_origin = [&](const std::string& origin) {
    return RawSocket::connect(server->port())
        .ask("GET /echo HTTP/1.1\r\nHost: chat.test\r\nOrigin: " + origin +
             "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .status;
  };
  EXPECT_EQ(with_origin("https://elsewhere.test"), 403);
  EXPECT_EQ(with_origin("https://chat.test"), 101);
  EXPECT_TRUE(eventually([&] { return fibers() == at_rest; }));
}

TEST_F(WebSocketService, ARoomHearsWhatAnyOfItSays) {
  for (const unsigned threads : {1u, 2u, 4u}) {
    serve({}, threads);
    std::vector<std::unique_ptr<Client>> room;
    for (int i = 0; i < 12; ++i) room.push_back(connect("/room/kitchen"));
    auto elsewhere = connect("/room/hall");
    ASSERT_TRUE(eventually([&] { return chat->connections() == 13; }));
    for (int i = 0; i < 5; ++i) room[static_cast<std::size_t>(i)]->say("from " + std::to_string(i));
    for (auto& client : room) {
      // One after the other is said, but on different threads.
      std::vector<std::string> heard;
      for (int i = 0; i < 5; ++i) heard.push_back(client->hear());
      std::sort(heard.begin(), heard.end());
      EXPECT_EQ(heard, (std::vector<std::string>{"from 0", "from 1", "from 2", "from 3", "from 4"}));
    }
    elsewhere->say("alone");
    EXPECT_EQ(elsewhere->hear(), "alone");
    elsewhere.reset();
    room.clear();
    runtime->stop();
    EXPECT_EQ(fibers(), 0u);
  }
}

// In a room with one that talks a lot and one that does not read.
class WebSocketRoom : public WebSocketService {
 protected:
  void talk() {
    ASSERT_TRUE(eventually([&] { return chat->connections() == 2; }));
    const std::string large(60'000, 'x');
    // More than the buffers and the outbox of the deaf one take.
    for (int i = 0; i < 300; ++i) {
      talker->say(large);
      ASSERT_EQ(talker->hear().size(), large.size());
    }
  }

  std::unique_ptr<Client> deaf, talker;
};

TEST_F(WebSocketRoom, TellsWhoReadsTooLateThatItWasTooMuch) {
  serve();
  deaf = connect("/room/kitchen", 4096);
  talker = connect("/room/kitchen");
  talk();
  while (!deaf->hear().empty()) {
  }
  EXPECT_EQ(deaf->error, ws::error::closed) << deaf->error.message();
  EXPECT_EQ(deaf->why(), ws::close_code::try_again_later);
  EXPECT_TRUE(eventually([&] { return chat->connections() == 1; }));
}

TEST_F(WebSocketRoom, LeavesWhoDoesNotRead) {
  serve({.write_timeout = milliseconds(100)});
  deaf = connect("/room/kitchen", 4096);
  talker = connect("/room/kitchen");
  talk();
  EXPECT_TRUE(eventually([&] { return chat->connections() == 1; }));
  talker->say("alone");
  EXPECT_EQ(talker->hear(), "alone");
}

TEST_F(WebSocketService, WhoDoesNotAnswerPingsIsLeft) {
  serve({.ping_every = milliseconds(100)});
  const auto absent = connect();
  const auto present = connect();
  ASSERT_TRUE(eventually([&] { return chat->connections() == 2; }));
  std::thread listening([&] { EXPECT_EQ(present->hear(), "released"); });
  EXPECT_TRUE(eventually([&] { return chat->connections() == 1; }));
  present->say("released");
  listening.join();
}

TEST_F(WebSocketService, NeitherDeadlineNorPoolOfItsRouteBindIt) {
  serve();
  penstock::decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default", .min = 1, .max = 1, .queue = {.max = 0}}};
  policy.routes = {{.match = "/*", .deadline = milliseconds(50)}};
  (*runtime)->apply_policy(policy);
  const auto first = connect();
  const auto second = connect();
  EXPECT_TRUE(eventually([&] { return (*runtime)->pool("default").in_flight() == 0; }));
  const auto opened = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() < opened + milliseconds(150)) {
    first->say("still here");
    ASSERT_EQ(first->hear(), "still here");
    std::this_thread::sleep_for(milliseconds(10));
  }
  second->say("here, too");
  EXPECT_EQ(second->hear(), "here, too");
  EXPECT_NE(
      (*runtime)->metrics().text().find("penstock_requests_total{code=\"101\",priority=\"normal\",route=\"/echo\"} 2"),
      std::string::npos)
      << "counted when they were opened";
}

TEST_F(WebSocketService, TheDrainClosesWithGoingAway) {
  serve();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(connect(i % 2 == 0 ? "/echo" : "/room/kitchen"));
  ASSERT_TRUE(eventually([&] { return chat->connections() == 8; }));
  std::thread stopping([&] { runtime->stop(); });
  for (auto& client : clients) {
    EXPECT_EQ(client->hear(), "");
    EXPECT_EQ(client->error, ws::error::closed) << client->error.message();
    EXPECT_EQ(client->why(), ws::close_code::going_away);
  }
  stopping.join();
  EXPECT_EQ(fibers(), 0u);
}

TEST_F(WebSocketService, AThousandIdleConnectionsAreCheap) {
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  serve({}, 1);
  const auto before = (*runtime)->stats().resident_bytes;
  constexpr int kClients = 1000;
  std::vector<RawSocket> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(RawSocket::connect(server->port()));
    ASSERT_EQ(clients.back()
                  .ask("GET /echo HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
                  .status,
              101);
  }
  ASSERT_TRUE(eventually([&] { return fibers() == at_rest + 2 * kClients; }));
  const auto each = ((*runtime)->stats().resident_bytes - before) / kClients;
  RecordProperty("kib_per_idle_connection", std::to_string(each / 1024));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(each, 40u * 1024);
#endif
  for (RawSocket& client : clients) {
    // Masked with zeros.
    ASSERT_TRUE(client.send(std::string("\x81\x85\0\0\0\0hello", 11)));
    ASSERT_EQ(client.read_until("hello"), "\x81\x05hello");
  }
  clients.clear();
  EXPECT_TRUE(eventually([&] { return fibers() == at_rest; }));
}

}  // namespace
}  // namespace chat
