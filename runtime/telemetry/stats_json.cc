#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>

#include "penstock/debug.h"
#include "penstock/runtime.h"
#include "runtime/fiber/scheduler_thread.h"
#include "runtime/net/listen_queue.h"
#include "runtime/runtime_state.h"
#include "runtime/telemetry/process_metrics.h"

namespace penstock {

std::string stats_json(const Runtime& runtime) {
  const Runtime::Stats stats = runtime.stats();
  boost::json::array threads, pools, upstreams;
  const auto& state = RuntimeAccess::state(runtime);
  const auto& all = state.threads;
  const double uptime = decision::seconds(std::chrono::steady_clock::now() - state.began);
  double requests = 0, completed = 0, busy = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const fiber::Heartbeat& beat = *all[i]->heartbeat();
    const double ran = decision::seconds(telemetry::cpu_time_of_thread(all[i]->thread()));
    threads.push_back(
        boost::json::object{{"id", i},
                            {"status", beat.running.load(std::memory_order_relaxed) == nullptr ? "idle" : "busy"},
                            {"running_time_seconds", ran},
                            {"busy", uptime > 0 ? std::min(1.0, ran / uptime) : 0.0},
                            {"fibers", beat.fibers.load(std::memory_order_relaxed)},
                            {"switches", beat.switches.load(std::memory_order_relaxed)},
                            {"fibers_refused", beat.refused.load(std::memory_order_relaxed)}});
  }
  for (const auto& pool : stats.pools) {
    boost::json::object rejected;
    for (int i = 0; i < decision::kRejectReasons; ++i) {
      const auto name = decision::to_string(static_cast<RejectReason>(i));
      rejected[boost::json::string_view(name.data(), name.size())] = pool.rejected[i];
    }
    requests += static_cast<double>(pool.admitted);
    completed += static_cast<double>(pool.completed);
    busy += decision::seconds(pool.busy);
    const double mean = pool.completed == 0 ? 0 : decision::seconds(pool.busy) / static_cast<double>(pool.completed);
    pools.push_back(boost::json::object{{"name", pool.name},
                                        {"limit", pool.limit},
                                        {"in_flight", pool.in_flight},
                                        {"queue_length", pool.queue_length},
                                        {"requests", pool.admitted},
                                        {"completed", pool.completed},
                                        {"avg_rt_seconds", mean},
                                        {"rejected", std::move(rejected)}});
  }
  for (const auto& upstream : stats.upstreams) {
    const auto state = decision::to_string(upstream.breaker);
    boost::json::object object{{"name", upstream.name},
                               {"limit", upstream.limit},
                               {"in_flight", upstream.in_flight},
                               {"waiting", upstream.waiting},
                               {"attempts", upstream.attempts},
                               {"ok", upstream.ok},
                               {"errors", upstream.errors},
                               {"timeouts", upstream.timeouts},
                               {"cancelled", upstream.cancelled},
                               {"rejected", upstream.rejected},
                               {"oldest_seconds", decision::seconds(upstream.oldest)},
                               {"breaker", boost::json::string(state.data(), state.size())}};
    if (upstream.usefulness) object["usefulness"] = *upstream.usefulness;
    const auto text = [](std::string_view word) { return boost::json::string(word.data(), word.size()); };
    object["bound_by"] = text(upstream.bound_by);
    object["refused"] = upstream.refused;
    if (upstream.rate) object["rate"] = *upstream.rate;
    object["latency_seconds"] = decision::seconds(upstream.current_latency);
    object["usual_latency_seconds"] = decision::seconds(upstream.usual_latency);
    if (upstream.expected_latency > Duration::zero()) {
      object["expected_latency_seconds"] = decision::seconds(upstream.expected_latency);
    }
    object["cause_state"] = text(decision::to_string(upstream.cause_state));
    object["cause"] = text(decision::to_string(upstream.cause));
    object["fleet_leads"] = upstream.fleet_leads;
    if (upstream.name != "other") {
      boost::json::array why;
      for (const std::string& line : runtime.explain_upstream(upstream.name)) why.emplace_back(line);
      object["why"] = std::move(why);
    }
    upstreams.push_back(std::move(object));
  }
  boost::json::array sockets;
  unsigned listen_queue = 0;
  for (const auto& queue : net::listen_queues()) {
    listen_queue += queue.waiting;
    sockets.push_back(
        boost::json::object{{"name", queue.address}, {"queue", queue.waiting}, {"max_queue", queue.most}});
  }
  const auto count = [&state](const char* counter, const Labels& labels = {}) {
    return static_cast<std::uint64_t>(state.metrics.total(counter, labels));
  };
  return boost::json::serialize(
      boost::json::object{{"version", PENSTOCK_VERSION},
                          {"pid", ::getpid()},
                          {"service", runtime.options().service},
                          {"uptime_seconds", uptime},
                          {"draining", runtime.draining()},
                          {"listen_queue", listen_queue},
                          {"sockets", std::move(sockets)},
                          {"requests", count("penstock_requests_total")},
                          {"exceptions", count("penstock_requests_total", {{"code", "500"}})},
                          {"deadlines_exceeded", count("penstock_requests_total", {{"code", "504"}})},
                          {"harakiri_count", count("penstock_scheduler_deadline_overruns_total")},
                          {"admitted", static_cast<std::uint64_t>(requests)},
                          {"avg_rt_seconds", completed > 0 ? busy / completed : 0.0},
                          {"fibers", stats.fibers},
                          {"rss", stats.resident_bytes},
                          {"memory_pressure", stats.memory_pressure},
                          {"run_delay_seconds", decision::seconds(stats.run_delay)},
                          {"cpu_seconds", decision::seconds(stats.cpu)},
                          {"threads", std::move(threads)},
                          {"pools", std::move(pools)},
                          {"upstreams", std::move(upstreams)}});
}

}  // namespace penstock
