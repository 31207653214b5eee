#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/net/socket.h"
#include "runtime/net/tls_stream.h"
#include "tests/unit/runtime/fiber/threads.h"
#include "tests/unit/runtime/net/certificates.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {

// What is a stream and nothing more than that.
class PlainStream final : public Stream {
 public:
  explicit PlainStream(Stream& below) : below_(below) {}
  std::size_t read_parts(const iovec* parts, int count, error_code& ec) override {
    return below_.read_parts(parts, count, ec);
  }
  std::size_t write_parts(const iovec* parts, int count, error_code& ec) override {
    return below_.write_parts(parts, count, ec);
  }
  void set_io_timeout(Duration d) override { below_.set_io_timeout(d); }
  bool is_open() const override { return below_.is_open(); }
  void shutdown_send() override { below_.shutdown_send(); }
  void close() override { below_.close(); }

 private:
  Stream& below_;
};

// Each test runs over a socket, and over a stream of which nothing else is known.
class Tls : public testing::TestWithParam<bool> {
 protected:
  Tls() : server_certificate_(certificates_.make("localhost")) {}

  TlsServerOptions server_options() const { return {.certificates = {server_certificate_}}; }
  TlsClientOptions client_options() const { return {.ca_file = certificates_.ca()}; }

  // Both ends of a connection.
  struct Pair {
    Pair(bool over_sockets, TlsClientContext& client_context, const TlsServerContext& server_context,
         const std::string& host)
        : sockets(connected_tcp()), client_plain(client_socket), server_plain(server_socket) {
      client = std::make_unique<TlsStream>(over_sockets ? static_cast<Stream&>(client_socket) : client_plain,
                                           client_context, host);
      server = std::make_unique<TlsStream>(over_sockets ? static_cast<Stream&>(server_socket) : server_plain,
                                           server_context);
    }
    std::pair<Socket, Socket> sockets;
    Socket& client_socket = sockets.first;
    Socket& server_socket = sockets.second;
    PlainStream client_plain, server_plain;
    std::unique_ptr<TlsStream> client, server;
    std::string server_error;
  };
  Pair pair(TlsClientContext& client, const TlsServerContext& server, const std::string& host = "localhost") const {
    return Pair(GetParam(), client, server, host);
  }
  static void shake(Pair& pair) {
    Fiber serving = spawn("server", [&pair] {
      try {
        pair.server->handshake(std::chrono::seconds(5));
      } catch (const TlsError& e) {
        pair.server_error = e.what();
        pair.server_socket.close();
      }
    });
    struct Join {
      ~Join() { fiber.join(); }
      Fiber& fiber;
    } join{serving};
    pair.client->handshake(std::chrono::seconds(5));
  }
  // Why a client that asks for `host` refuses a server.
  std::string refusal(const TlsServerOptions& server, const TlsClientOptions& client,
                      const std::string& host = "localhost") {
    std::string why;
    threads_.run([&] {
      TlsClientContext client_context(client);
      const TlsServerContext server_context(server);
      Pair ends = pair(client_context, server_context, host);
      try {
        shake(ends);
      } catch (const TlsError& e) {
        why = e.what();
      }
    });
    return why;
  }
  void run_pair(const std::function<void(Pair&)>& fn) {
    threads_.run([&] {
      TlsClientContext client(client_options());
      const TlsServerContext server(server_options());
      Pair ends = pair(client, server);
      shake(ends);
      fn(ends);
    });
  }

  Certificates certificates_;
  const TlsCertificate server_certificate_;
  fiber::Threads threads_;
};

}  // namespace penstock::net
