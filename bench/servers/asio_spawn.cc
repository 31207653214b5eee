// A peer: Boost.Beast in stackful coroutines of Asio (asio::spawn) on one thread. Prints its address.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <utility>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

namespace {

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

void serve(tcp::socket socket, asio::yield_context yield) {
  beast::tcp_stream stream(std::move(socket));
  beast::flat_buffer buffer;
  beast::error_code ec;
  while (true) {
    http::request<http::string_body> request;
    http::async_read(stream, buffer, request, yield[ec]);
    if (ec) return;
    if (request.target() == "/sleep") {
      asio::steady_timer timer(stream.get_executor(), std::chrono::seconds(1));
      timer.async_wait(yield[ec]);
    }
    http::response<http::string_body> response;
    response.version(request.version());
    response.set(http::field::content_type, "text/plain; charset=utf-8");
    response.keep_alive(request.keep_alive());
    response.body() = "Hello, world!\n";
    response.prepare_payload();
    http::async_write(stream, response, yield[ec]);
    if (ec || !response.keep_alive()) return;
  }
}

}  // namespace

int main() {
  asio::io_context context(1);
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  acceptor.listen(4096);
  std::printf("127.0.0.1:%d\n", acceptor.local_endpoint().port());
  std::fflush(stdout);
  asio::spawn(
      context,
      [&](asio::yield_context yield) {
        while (true) {
          tcp::socket socket(context);
          acceptor.async_accept(socket, yield);
          socket.set_option(tcp::no_delay(true));
          asio::spawn(
              context,
              [socket = std::move(socket)](asio::yield_context yield) mutable { serve(std::move(socket), yield); },
              rethrow);
        }
      },
      rethrow);
  context.run();
}
