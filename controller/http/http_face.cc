#include "controller/http/http_face.h"

#include <google/protobuf/util/json_util.h>

#include <boost/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "controller/http/assets.h"

namespace penstock::controller {

namespace {

namespace json = boost::json;
using http::Request;
using http::Response;

constexpr int kDecisionsDefault = 200;
constexpr int kDecisionsMost = 1000;
constexpr std::string_view kDashboards = "dashboards/";

// Everything comes from here, nothing may frame it, and nothing is guessed from content.
Response guarded(Response response) {
  response.headers.emplace_back("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'");
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  response.headers.emplace_back("Referrer-Policy", "no-referrer");
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

Response error(int status, std::string_view message) {
  return Response::json(
      json::serialize(json::object{{"status", "error"}, {"error", json::string(message.data(), message.size())}}),
      status);
}

Response serve_asset(std::string_view path) {
  const Asset* asset = find_asset(path);
  if (asset == nullptr) return Response::text("not found\n", 404);
  Response response;
  response.headers.emplace_back("Content-Type", asset->type);
  response.body = asset->content;
  return response;
}

std::string_view stem(std::string_view path) {
  path.remove_prefix(kDashboards.size());
  return path.substr(0, path.rfind('.'));
}

std::string list_dashboards(std::chrono::milliseconds scrape_interval) {
  json::array list;
  for (const Asset& asset : assets()) {
    if (!asset.path.starts_with(kDashboards)) continue;
    const json::value dashboard = json::parse({asset.content.data(), asset.content.size()});
    const std::string_view name = stem(asset.path);
    list.push_back(json::object{{"name", json::string(name.data(), name.size())}, {"title", dashboard.at("title")}});
  }
  const double seconds = std::chrono::duration<double>(scrape_interval).count();
  return json::serialize(json::object{{"dashboards", std::move(list)}, {"scrapeIntervalSeconds", seconds}});
}

std::string to_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string out;
  const auto status = google::protobuf::util::MessageToJsonString(message, &out, options);
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  return out;
}

// For http_sd: who can be scraped, under the labels that the queries rely on.
std::string list_targets(const Fleet& fleet, decision::Instant now) {
  json::array list;
  for (const NodeState& node : fleet.nodes()) {
    if (node.lease_until <= now || node.hello == nullptr || node.hello->metrics_address().empty()) continue;
    list.push_back(json::object{{"targets", json::array{json::string(node.hello->metrics_address())}},
                                {"labels", {{"service", node.id.service}, {"node", node.id.node}}}});
  }
  return json::serialize(list);
}

Response list_decisions(Runtime& runtime, const DecisionLog& log, const Request& request) {
  DecisionFilter filter;
  filter.kind = request.query("kind").value_or("");
  filter.name = request.query("name").value_or("");
  filter.service = request.query("service").value_or("");
  if (const auto since = request.query("since")) {
    absl::Time time;
    std::string why;
    if (!absl::ParseTime(absl::RFC3339_full, *since, &time, &why)) return error(400, "since: " + why);
    filter.since = absl::ToChronoTime(time);
  }
  int limit = kDecisionsDefault;
  if (const auto given = request.query("limit")) {
    if (!absl::SimpleAtoi(*given, &limit) || limit < 1 || limit > kDecisionsMost) {
      return error(400, "limit: must be a number from 1 to 1000");
    }
  }
  absl::StatusOr<std::vector<v1::Decision>> found;
  runtime.offload([&] { found = log.list(filter, limit, 0); });
  if (!found.ok()) return error(503, std::string(found.status().message()));
  v1::ListDecisionsResponse response;
  for (v1::Decision& decision : *found) *response.add_decisions() = std::move(decision);
  return Response::json(to_json(response));
}

Response forward(PrometheusReader& prometheus, std::string_view endpoint, const Request& request) {
  const std::string_view target = request.target();
  const std::size_t question = target.find('?');
  if (question == std::string_view::npos) return error(400, "a query is required");
  try {
    Response answer = prometheus.forward(endpoint, target.substr(question + 1));
    return Response::json(std::move(answer.body), answer.status);
  } catch (const http::CallError& failure) {
    return error(502, failure.what());
  } catch (const DeadlineExceeded&) {
    return error(504, "Prometheus did not answer in time");
  }
}

}  // namespace

HttpFace::HttpFace(Runtime& runtime, HttpOptions options, HttpSources sources)
    : sources_(std::move(sources)), options_(std::move(options)) {
  http::ServerOptions server;
  server.address = options_.address;
  server.port = options_.port;
  server.admission = false;
  server.max_body_bytes = 64 * 1024;
  server_ = std::make_unique<http::Server>(runtime, server);

  const auto get = [this](std::string_view pattern, http::Handler handler) {
    server_->route("GET", pattern,
                   [handler = std::move(handler)](const Request& request) { return guarded(handler(request)); });
  };
  get("/sd", [this](const Request&) {
    return Response::json(list_targets(sources_.fleet, std::chrono::steady_clock::now()));
  });
  get("/readyz", [this](const Request&) {
    const absl::Status ready = sources_.ready();
    return ready.ok() ? Response::text("ready\n") : Response::text(std::string(ready.message()) + "\n", 503);
  });
  get("/api/status", [this](const Request&) { return Response::json(to_json(sources_.status())); });
  get("/api/decisions",
      [this, &runtime](const Request& request) { return list_decisions(runtime, sources_.decisions, request); });
  for (const std::string endpoint : {"query", "query_range"}) {
    get("/api/prometheus/" + endpoint,
        [this, endpoint](const Request& request) { return forward(sources_.prometheus, endpoint, request); });
  }
  get("/api/dashboards",
      [list = list_dashboards(options_.scrape_interval)](const Request&) { return Response::json(list); });
  get("/api/dashboards/{name}", [](const Request& request) {
    return serve_asset(std::string(kDashboards) + std::string(request.param("name")) + ".json");
  });
  get("/", [](const Request&) { return serve_asset("console/index.html"); });
  get("/console/*", [](const Request& request) { return serve_asset(request.path().substr(1)); });
}

HttpFace::~HttpFace() = default;

std::string HttpFace::address() const { return server_->address(); }

}  // namespace penstock::controller
