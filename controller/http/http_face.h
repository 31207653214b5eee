#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "controller/fleet/fleet.h"
#include "controller/signals/prometheus_reader.h"
#include "controller/store/decision_log.h"
#include "penstock/http.h"
#include "penstock/runtime.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

struct HttpOptions {
  std::string address = "127.0.0.1";
  // 0 takes a free one.
  std::uint16_t port = 7281;
  // Told to the console, whose windows derive from it.
  std::chrono::milliseconds scrape_interval{1'000};
};

// What HTTP shows, and whom it asks. All of it outlives the face; the functions are called from fibers.
struct HttpSources {
  Fleet& fleet;
  DecisionLog& decisions;
  PrometheusReader& prometheus;
  std::function<v1::ControllerStatus()> status;
  // OK when the store is open and the loop turns; otherwise why not.
  std::function<absl::Status()> ready;
};

// The controller's HTTP: discovery for Prometheus, metrics, health, and what the console reads. Everything is
// read-only.
//   /sd                              http_sd: the nodes that hold a lease; always 200 with a list
//   /metrics /healthz /readyz
//   /api/status /api/decisions       as JSON; ?since=2026-01-02T03:04:05Z&kind=&name=&service=&limit=
//   /api/dashboards[/{name}]         the Grafana dashboards that the console draws
//   /api/prometheus/{query,query_range}   passed on to Prometheus; nothing else of it can be reached
//   /  /console/*                    the console, built into the program
class HttpFace {
 public:
  // Binds at once and registers its routes; serves while the runtime runs.
  HttpFace(Runtime& runtime, HttpOptions options, HttpSources sources);
  ~HttpFace();
  HttpFace(const HttpFace&) = delete;

  // "127.0.0.1:port" as bound.
  std::string address() const;

 private:
  HttpSources sources_;
  HttpOptions options_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace penstock::controller
