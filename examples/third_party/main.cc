// A third party: answers every path after about 50 ms, and can be made to misbehave while it runs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <random>
#include <string>

#include "examples/third_party/behaviour.h"
#include "examples/third_party/ledger.h"
#include "penstock/http.h"
#include "penstock/runtime.h"

namespace third_party {
namespace {

using penstock::http::Request;
using penstock::http::Response;

// What needs no bound here has one in the pool; beyond any number of calls that a test makes.
constexpr int kUnlimited = 1'000'000;

penstock::decision::Policy unbounded_queue() {
  penstock::decision::PoolPolicy pool;
  pool.name = "capacity";
  pool.max = kUnlimited;
  pool.memory_bytes = std::int64_t{1} << 40;
  pool.fallback_limit = kUnlimited;
  pool.queue = {
      .discipline = penstock::decision::QueueDiscipline::fifo, .max = kUnlimited, .max_wait = std::chrono::seconds(60)};
  penstock::decision::Policy policy;
  policy.name = "third-party";
  policy.service = "third-party";
  policy.pools = {pool};
  return policy;
}

// Used on one scheduler thread only.
class ThirdParty {
 public:
  ThirdParty(penstock::Runtime& runtime, std::uint64_t seed) : capacity_(runtime.pool("capacity")), engine_(seed) {}

  Response answer(const Request& request) {
    Ledger::Call call(ledger_, request.header("X-Try"));
    const Behaviour behaviour = behaviour_;
    while (behaviour.blackhole) penstock::sleep_for(std::chrono::hours(1));
    if (behaviour.max_rate && !take_token(*behaviour.max_rate)) {
      call.answered();
      Response refusal = Response::text("too many requests\n", 429);
      refusal.headers.emplace_back("Retry-After", std::to_string(behaviour.retry_after_s));
      return refusal;
    }
    const penstock::Pool::Permit permit = capacity_.acquire();
    const bool fails = uniform_(engine_) < behaviour.error_ratio;
    penstock::sleep_for(latency(behaviour));
    call.answered();
    return fails ? Response::text("out of order\n", 500) : Response::text("fine\n");
  }

  Response show_control() const { return Response::json(to_json(behaviour_) + "\n"); }

  Response control(const Request& request) {
    try {
      behaviour_ = parse_behaviour(request.body());
    } catch (const std::invalid_argument& error) {
      return Response::text(std::string(error.what()) + "\n", 400);
    }
    capacity_.set_limit(behaviour_.capacity.value_or(kUnlimited));
    tokens_ = 1;
    return show_control();
  }

  Response stats() const {
    const Tally& total = ledger_.total();
    return Response::json("{\"begun\":" + std::to_string(total.begun) + ",\"answered\":" +
                          std::to_string(total.answered) + ",\"cancelled\":" + std::to_string(total.cancelled) +
                          ",\"in_flight\":" + std::to_string(ledger_.in_flight()) + "}\n");
  }

  Response calls() const { return Response::text(ledger_.by_try()); }

 private:
  std::chrono::nanoseconds latency(const Behaviour& behaviour) {
    double ms = behaviour.latency_median_ms * std::exp(behaviour.latency_sigma * normal_(engine_));
    if (behaviour.collapse_above) {
      const double load = static_cast<double>(ledger_.in_flight()) / *behaviour.collapse_above;
      if (load > 1) ms *= load * load;
    }
    return std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(ms, 3.6e6) * 1e6));
  }

  bool take_token(double rate) {
    const auto now = std::chrono::steady_clock::now();
    const double elapsed = std::chrono::duration<double>(now - refilled_).count();
    tokens_ = std::min(std::max(1.0, rate / 10), tokens_ + elapsed * rate);
    refilled_ = now;
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

  penstock::Pool& capacity_;
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
  std::uniform_real_distribution<double> uniform_;
  Behaviour behaviour_;
  Ledger ledger_;
  double tokens_ = 1;
  std::chrono::steady_clock::time_point refilled_{};
};

}  // namespace
}  // namespace third_party

int main(int argc, char** argv) try {
  std::string listen = "127.0.0.1:0";
  std::uint64_t seed = 1;
  std::uint16_t port = 0;
  CLI::App app("A third party whose behaviour can be changed with PUT /control.", "third-party");
  app.add_option("--listen", listen, "address:port; port 0 takes a free one")->capture_default_str();
  app.add_option("--seed", seed, "of latencies and errors")->capture_default_str();
  try {
    app.parse(argc, argv);
    const std::size_t colon = listen.rfind(':');
    if (colon == listen.npos || !CLI::detail::lexical_cast(listen.substr(colon + 1), port)) {
      throw CLI::ValidationError("--listen", listen + ": not address:port");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  // Calls that a black hole holds are not worth waiting for at the end.
  penstock::Runtime runtime({.service = "third-party", .threads = 1, .drain_grace = std::chrono::milliseconds(100)});
  runtime.apply_policy(third_party::unbounded_queue());
  third_party::ThirdParty self(runtime, seed);
  penstock::http::Server server(runtime,
                                {.address = listen.substr(0, listen.rfind(':')), .port = port, .admission = false});
  using penstock::http::Request;
  server.route("GET", "/control", [&](const Request&) { return self.show_control(); });
  server.route("PUT", "/control", [&](const Request& request) { return self.control(request); });
  server.route("GET", "/stats", [&](const Request&) { return self.stats(); });
  server.route("GET", "/calls", [&](const Request&) { return self.calls(); });
  server.route("", "/*", [&](const Request& request) { return self.answer(request); });
  std::cerr << "third-party: " << server.address() << std::endl;
  runtime.run();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "third-party: " << error.what() << std::endl;
  return 1;
}
