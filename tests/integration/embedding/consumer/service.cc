// Serves one request of its own and ends.
#include <penstock/http.h>
#include <penstock/runtime.h>

#include <cstdio>
#include <string>

int main() {
  penstock::Runtime runtime({.service = "consumer", .threads = 1});
  penstock::http::Server server(runtime, {.port = 0});
  penstock::http::Client client(runtime);
  server.route("GET", "/", [](const penstock::http::Request&) { return penstock::http::Response::text("hello"); });
  std::string answer;
  runtime.spawn("asks", [&] {
    answer = client.get("http://" + server.address() + "/").body;
    runtime.stop();
  });
  runtime.run();
  std::printf("%s\n", answer.c_str());
  return answer == "hello" ? 0 : 1;
}
