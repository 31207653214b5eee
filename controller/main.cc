#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <vector>

#include "controller/addresses_file.h"
#include "controller/clock.h"
#include "controller/fleet/fleet.h"
#include "controller/http/http_face.h"
#include "controller/loop/cause_loop.h"
#include "controller/loop/history_loop.h"
#include "controller/loop/loop.h"
#include "controller/options.h"
#include "controller/process_log.h"
#include "controller/service/admin.h"
#include "controller/service/admin_service.h"
#include "controller/service/agent_service.h"
#include "controller/service/grpc_server.h"
#include "controller/service/roles.h"
#include "controller/signals/history_reader.h"
#include "controller/signals/prometheus_reader.h"
#include "controller/signals/signal_reader.h"
#include "controller/store/decision_log.h"
#include "controller/store/store.h"
#include "penstock/http.h"
#include "penstock/runtime.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int failed(const absl::Status& status, int code = kFailed) {
  std::fprintf(stderr, "penstock-controller: %s\n", std::string(status.message()).c_str());
  return code;
}

// Serves until SIGTERM or SIGINT.
int run(const Settings& settings) {
  // The runtime takes these two; no thread that is started before it may.
  sigset_t signals_of_the_end;
  sigemptyset(&signals_of_the_end);
  sigaddset(&signals_of_the_end, SIGTERM);
  sigaddset(&signals_of_the_end, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_of_the_end, nullptr);

  Clock& clock = system_clock();
  auto opened = Store::open(settings.data, clock);
  if (!opened.ok()) return failed(opened.status());
  Store& store = **opened;
  DecisionLog log(store, clock, settings.decision_retention);
  Fleet fleet(clock);
  Admin admin(store, log, fleet, clock, PENSTOCK_VERSION);
  if (auto status = admin.restore(); !status.ok()) return failed(status);

  Runtime runtime({.service = "penstock-controller", .threads = 1});
  http::Client client(runtime, {.tls = {.ca_file = settings.prometheus_ca}});
  PrometheusReader prometheus(client, {.url = settings.prometheus}, runtime.metrics());
  SignalReader signals(prometheus, settings.scrape_interval);
  Loop loop(fleet, log, signals, clock, runtime.metrics(),
            {.period = settings.period, .scrape_interval = settings.scrape_interval});
  CauseLoop causes(fleet, log, clock, runtime.metrics());
  HistoryReader recorded(prometheus);
  HistoryLoop history(fleet, log, recorded, clock, runtime.metrics(),
                      {.lookback = settings.prometheus.empty() ? std::chrono::hours(0) : settings.history,
                       .scrape_interval = settings.scrape_interval});
  HttpFace face(
      runtime,
      {.address = settings.http.host,
       .port = static_cast<std::uint16_t>(settings.http.port),
       .scrape_interval = settings.scrape_interval},
      {.fleet = fleet,
       .decisions = log,
       .prometheus = prometheus,
       .status = [&] { return admin.status(); },
       .ready = [&] { return loop.turning() ? absl::OkStatus() : absl::UnavailableError("the loop does not turn"); }});

  const Authenticator authenticator(settings.tls(), settings.roles);
  AgentChannel agents(fleet, log, clock, authenticator, store.epoch(), settings.lease_ttl);
  const auto administration = make_admin_service(admin, log, authenticator);
  auto server = GrpcServer::start({.address = settings.grpc.text(),
                                   .tls_cert = settings.tls_cert,
                                   .tls_key = settings.tls_key,
                                   .tls_ca = settings.tls_ca},
                                  {administration.get(), &agents.service()});
  if (!server.ok()) return failed(server.status());
  agents.start();
  HostPort bound = settings.grpc;
  bound.port = (*server)->port();
  if (!settings.addresses.empty())
    if (auto status = write_addresses(settings.addresses, bound.text(), face.address()); !status.ok())
      return failed(status);
  log_event("listening", {{"grpc", bound.text()},
                          {"http", face.address()},
                          {"epoch", std::to_string(store.epoch())},
                          {"version", PENSTOCK_VERSION},
                          {"tls", settings.tls() ? "mutual" : "off"}});

  std::vector<Fiber> turning;
  const auto turn = [&](const char* name, auto& loop) {
    turning.push_back(runtime.spawn(name, [&loop] {
      try {
        loop.run();
      } catch (const Cancelled&) {
      }
    }));
  };
  turn("loop", loop);
  turn("causes", causes);
  turn("history", history);
  runtime.on_drain([&] {
    for (Fiber& fiber : turning) fiber.cancel();
  });
  runtime.run();

  agents.stop();
  (*server)->stop();
  if (auto status = log.flush(); !status.ok()) return failed(status);
  log_event("stopped", {});
  return 0;
}

}  // namespace
}  // namespace penstock::controller

int main(int argc, char** argv) {
  using namespace penstock::controller;
  Options options;
  CLI::App app("Decides how much concurrency each node of a fleet may use, and why.", "penstock-controller");
  app.set_version_flag("--version", std::string(PENSTOCK_VERSION));
  app.add_option("--grpc", options.grpc, "HOST:PORT of the gRPC listener: agents and penstockctl")
      ->capture_default_str();
  app.add_option("--http", options.http, "HOST:PORT of /sd, /metrics, /healthz and the console; loopback only")
      ->capture_default_str();
  app.add_option("--prometheus", options.prometheus,
                 "URL of the Prometheus that scrapes the nodes, http:// or https://; empty: none")
      ->capture_default_str();
  app.add_option("--prometheus-ca", options.prometheus_ca,
                 "CAs that are trusted besides the system's when --prometheus is https://, PEM");
  app.add_option("--data", options.data, "Directory of the store; made if needed, used by one controller at a time")
      ->required();
  app.add_option("--addresses", options.addresses,
                 "File to write {\"grpc\":..,\"http\":..} to once both listen; for port 0");
  app.add_option("--scrape-interval", options.scrape_interval,
                 "How often Prometheus scrapes the nodes, 100ms to 5m: windows and staleness derive from it")
      ->capture_default_str();
  app.add_option("--history", options.history,
                 "How far back Prometheus is read for what is usual at which hour of the week, 24h to 672h; 0: not")
      ->capture_default_str();
  app.add_option("--period", options.period, "Between two turns of the loop, 50ms to 1m")->capture_default_str();
  app.add_option("--lease-ttl", options.lease_ttl,
                 "How long a node acts on what it was told without hearing more, 1s to 10m")
      ->capture_default_str();
  app.add_option("--decision-retention", options.decision_retention, "How long decisions are kept, 1h and up")
      ->capture_default_str();
  app.add_option("--tls-cert", options.tls_cert, "Certificate of the gRPC listener, PEM");
  app.add_option("--tls-key", options.tls_key, "Its key, PEM");
  app.add_option("--tls-ca", options.tls_ca, "CA that signs the clients' certificates, PEM");
  app.add_option(
         "--role", options.roles,
         "IDENTITY=node|viewer|operator, repeatable, first match counts; IDENTITY is the certificate's URI, else "
         "its common name; \"*\" matches anything, {service} and {node} bind a node to its names")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--roles", options.roles_file, "The same as YAML: roles: [{identity: .., role: ..}]");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warn, error or off")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (!configure_log(options.log_level))
    return failed(absl::InvalidArgumentError("--log-level: must be trace, debug, info, warn, error or off"), kUsage);
  auto settings = understand(options);
  if (!settings.ok()) return failed(settings.status(), kUsage);
  try {
    return run(*settings);
  } catch (const std::exception& error) {
    return failed(absl::InternalError(error.what()));
  }
}
