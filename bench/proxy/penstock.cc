// The product for `scripts/bench proxy`: a handler that makes one call to a guarded third party, with its timeout, its
// limit and its breaker, and returns the answer. One scheduler thread. Prints its address; the argument is the
// upstream's port.
#include <chrono>
#include <cstdio>
#include <string>

#include "penstock/http.h"
#include "penstock/runtime.h"

int main(int argc, char** argv) {
  using namespace penstock;
  if (argc != 2) return 2;
  const std::string upstream = std::string("127.0.0.1:") + argv[1];
  Runtime runtime({.service = "proxy", .threads = 1});
  decision::Policy policy;
  policy.name = policy.service = "proxy";
  policy.pools = {{.name = "default"}};
  policy.routes = {{.match = "/order", .pool = "default", .deadline = std::chrono::seconds(8)}};
  decision::UpstreamPolicy orders{.name = "orders", .hosts = {upstream}, .timeout = std::chrono::seconds(2)};
  orders.limit.max = 2000;
  policy.upstreams = {orders};
  runtime.apply_policy(policy);
  http::Client client(runtime, {.max_idle = 2000});
  http::Server server(runtime, {.port = 0});
  const std::string url = "http://" + upstream + "/order";
  server.route("GET", "/order", [&](const http::Request&) { return client.get(url); });
  std::printf("%s\n", server.address().c_str());
  std::fflush(stdout);
  runtime.run();
}
