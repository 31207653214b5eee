// The product's server for the benchmarks, with all that a service has: routing, a deadline, admission to a pool,
// metrics. Takes the number of scheduler threads, 1 when not told; prints its address.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "penstock/fiber.h"
#include "penstock/http.h"
#include "penstock/runtime.h"

namespace {

using namespace std::chrono_literals;

void compute(std::chrono::microseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < until) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace penstock;
  const unsigned threads = argc > 1 ? static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10)) : 1;
  Runtime runtime({.service = "bench", .threads = threads});
  decision::Policy policy;
  policy.name = policy.service = "bench";
  policy.pools = {{.name = "default", .max = 20'000, .memory_bytes = std::int64_t{4} << 30}};
  policy.routes = {{.match = "/*", .pool = "default", .deadline = 8s}};
  runtime.apply_policy(policy);
  http::Server server(runtime, {.port = 0});
  server.route("GET", "/hello", [](const http::Request&) { return http::Response::text("Hello, world!\n"); });
  server.route("GET", "/sleep", [](const http::Request&) {
    sleep_for(1s);
    return http::Response::text("Hello, world!\n");
  });
  server.route("GET", "/work", [](const http::Request&) {
    compute(200us);
    return http::Response::text("Hello, world!\n");
  });
  std::printf("%s\n", server.address().c_str());
  std::fflush(stdout);
  runtime.run();
}
