// The shop on Penstock: its handlers wait as plain synchronous code does, each on a fiber. What protects it is in
// policy.yaml, not here.
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "examples/shop/handlers.h"
#include "examples/shop/third_parties.h"
#include "penstock/agent.h"
#include "penstock/http.h"
#include "penstock/runtime.h"

namespace {

struct Options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;
  std::map<char, std::string> third_parties;
  unsigned threads = 1;
  penstock::AgentOptions agent;
};

Options parse(int argc, char** argv) {
  Options options;
  std::string listen = "127.0.0.1:8080";
  std::vector<std::string> third_parties;
  CLI::App app("The shop of the incident, on Penstock.", "shop-penstock");
  app.add_option("--listen", listen, "address:port")->capture_default_str();
  app.add_option("--third-parties", third_parties, "A=http://host:port,B=...,C=...")->delimiter(',')->required();
  app.add_option("--controller", options.agent.controller, "host:port of penstock-controller; without, works alone");
  app.add_option("--policy", options.agent.policy_file, "policy file until the controller's arrives");
  app.add_option("--node", options.agent.node, "name of this node");
  app.add_option("--threads", options.threads, "scheduler threads")->capture_default_str()->check(CLI::Range(1, 256));
  double cpu_ms = 0.3;
  std::size_t memory_kib = 0;
  app.add_option("--page-cpu-ms", cpu_ms, "CPU that a page costs")->capture_default_str()->check(CLI::Range(0.0, 1e3));
  app.add_option("--page-memory-kib", memory_kib, "memory that a page holds while it is made")->capture_default_str();
  try {
    app.parse(argc, argv);
    const std::size_t colon = listen.rfind(':');
    if (colon == listen.npos || !CLI::detail::lexical_cast(listen.substr(colon + 1), options.port)) {
      throw CLI::ValidationError("--listen", listen + ": not address:port");
    }
    options.address = listen.substr(0, colon);
    shop::page_cost() = {std::chrono::microseconds(static_cast<long>(cpu_ms * 1000)), memory_kib * 1024};
    for (const std::string& entry : third_parties) {
      if (entry.find('=') != 1) throw CLI::ValidationError("--third-parties", entry + ": not NAME=URL");
      options.third_parties[entry[0]] = entry.substr(2) + "/";
    }
    for (const char name : {'A', 'B', 'C'}) {
      if (!options.third_parties.contains(name))
        throw CLI::ValidationError("--third-parties", std::string("no ") + name);
    }
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) try {
  Options options = parse(argc, argv);
  penstock::Runtime runtime({.service = "shop", .threads = options.threads});
  const std::unique_ptr<shop::Clients> clients = shop::make_clients(runtime);
  penstock::http::Server server(runtime, {.address = options.address, .port = options.port});

  for (const shop::Endpoint& endpoint : shop::endpoints()) {
    server.route("GET", endpoint.path, [&](const penstock::http::Request& request) {
      const std::string user_try(request.header(shop::kTryHeader));
      return penstock::http::Response::html(
          endpoint.page([&](char name) { return clients->get(options.third_parties.at(name), user_try); }));
    });
  }

  options.agent.metrics_address = server.address();
  penstock::Agent agent(runtime, options.agent);
  agent.start();
  std::cerr << "shop-penstock: " << server.address() << std::endl;
  runtime.run();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "shop-penstock: " << error.what() << std::endl;
  return 1;
}
