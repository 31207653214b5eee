#include "penstock/http.h"
#include "penstock/runtime.h"

using namespace penstock;

int main() {
  Runtime runtime({.service = "minimal"});
  http::Client client(runtime);
  http::Server server(runtime, {.port = 8080});

  // Plain synchronous code: while it waits, it costs kilobytes, not a thread.
  server.route("GET", "/hello/{name}", [](const http::Request& request) {
    return http::Response::text("Hello, " + std::string(request.param("name")) + "!\n");
  });
  server.route("GET", "/price/{item}", [&](const http::Request& request) {
    return client.get("http://127.0.0.1:9090/prices/" + std::string(request.param("item")));
  });
  runtime.run();
}
