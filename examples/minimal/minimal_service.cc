#include <penstock/agent.h>
#include <penstock/http.h>
#include <penstock/runtime.h>

using namespace penstock;

int main() {
  Runtime runtime({.service = "shop"});
  Agent agent(runtime, {.controller = "127.0.0.1:7300",
                        .node = "shop-1",
                        .metrics_address = "127.0.0.1:8080",
                        .policy_file = "shop.yaml"});
  http::Client client(runtime);
  http::Server server(runtime, {.port = 8080});

  // Plain synchronous code. While it waits it costs kilobytes, not a thread. It waits at most until the request's
  // deadline, and no longer than its user does; if payments is as good as dead, the user has a 503 at once.
  server.route("POST", "/checkout/{order}", [&](const http::Request& request) {
    std::string order = http::percent_encode(request.param("order"));
    http::Response paid = client.post("http://payments.internal:8000/pay/" + order, request.body());
    return http::Response::json(paid.body, paid.status);
  });

  agent.start();
  runtime.run();  // until SIGTERM; then what is in flight is finished
}
