#include <penstock/http.h>
#include <penstock/runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "examples/websocket/chat.h"

// websocket-service [PORT]: WebSockets at /echo and /room/NAME.
int main(int argc, char** argv) {
  penstock::Runtime runtime({.service = "chat"});
  penstock::http::Server server(runtime, {.port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 8080)});
  const chat::Chat chat(runtime, server);
  std::printf("ws://%s/echo\n", server.address().c_str());
  std::fflush(stdout);
  runtime.run();  // until SIGTERM; then clients are told that the service goes away
}
