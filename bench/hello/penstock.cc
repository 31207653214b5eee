// The product's server for `scripts/bench hello`, with all that a service has: routing, a deadline, admission to a
// pool, metrics. One scheduler thread. Prints its address.
#include <chrono>
#include <cstdio>

#include "penstock/http.h"
#include "penstock/runtime.h"

int main() {
  using namespace penstock;
  Runtime runtime({.service = "hello", .threads = 1});
  decision::Policy policy;
  policy.name = policy.service = "hello";
  policy.pools = {{.name = "default"}};
  policy.routes = {{.match = "/hello", .pool = "default", .deadline = std::chrono::seconds(8)}};
  runtime.apply_policy(policy);
  http::Server server(runtime, {.port = 0});
  server.route("GET", "/hello", [](const http::Request&) { return http::Response::text("Hello, world!\n"); });
  std::printf("%s\n", server.address().c_str());
  std::fflush(stdout);
  runtime.run();
}
