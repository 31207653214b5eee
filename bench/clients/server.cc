// bench-clients-server CERTIFICATE KEY: what libcurl, OpenSSL and SMTP clients call; answers after a second. Prints the
// addresses of its HTTP, HTTPS and SMTP servers.
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>

#include "penstock/http.h"
#include "penstock/runtime.h"

namespace {

int listening(std::uint16_t& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd, 4096) != 0) {
    throw std::runtime_error("cannot listen");
  }
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

// Plain blocking code, which waits as a fiber since it is linked with penstock::interpose.
void serve_mail(int fd) {
  FILE* stream = ::fdopen(fd, "r+");
  const auto say = [&](const char* line) {
    ::fprintf(stream, "%s\r\n", line);
    ::fflush(stream);
  };
  say("220 ready");
  char line[512];
  bool data = false;
  while (::fgets(line, sizeof line, stream) != nullptr) {
    if (data) {
      if (::strcmp(line, ".\r\n") != 0) continue;
      data = false;
      ::sleep(1);
      say("250 taken");
    } else if (::strncmp(line, "DATA", 4) == 0) {
      data = true;
      say("354 go on");
    } else if (::strncmp(line, "QUIT", 4) == 0) {
      break;
    } else {
      say("250 ok");
    }
  }
  ::fclose(stream);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  penstock::Runtime runtime({.threads = 1});
  penstock::http::Server plain(runtime, {.port = 0});
  penstock::http::Server secured(
      runtime, {.port = 0, .tls = penstock::net::TlsServerOptions{.certificates = {{argv[1], argv[2]}}}});
  for (penstock::http::Server* server : {&plain, &secured}) {
    server->route("GET", "/", [](const penstock::http::Request&) {
      penstock::sleep_for(std::chrono::seconds(1));
      return penstock::http::Response::text("slept\n");
    });
  }
  std::uint16_t port = 0;
  const int mail = listening(port);
  runtime.spawn("mail", [&] {
    for (;;) {
      const int fd = ::accept(mail, nullptr, nullptr);
      if (fd < 0) return;
      penstock::spawn("mail", [fd] { serve_mail(fd); });
    }
  });
  std::cout << plain.address() << ' ' << secured.address() << " 127.0.0.1:" << port << std::endl;
  runtime.run();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "bench-clients-server: " << error.what() << std::endl;
  return 1;
}
