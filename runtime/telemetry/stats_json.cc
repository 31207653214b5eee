#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "penstock/debug.h"
#include "penstock/runtime.h"
#include "runtime/fiber/scheduler_thread.h"
#include "runtime/runtime_state.h"

namespace penstock {

std::string stats_json(const Runtime& runtime) {
  const Runtime::Stats stats = runtime.stats();
  boost::json::array threads, pools, upstreams;
  const auto& all = RuntimeAccess::state(runtime).threads;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const fiber::Heartbeat& beat = *all[i]->heartbeat();
    threads.push_back(
        boost::json::object{{"id", i},
                            {"status", beat.running.load(std::memory_order_relaxed) == nullptr ? "idle" : "busy"},
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
    upstreams.push_back(std::move(object));
  }
  return boost::json::serialize(boost::json::object{{"version", PENSTOCK_VERSION},
                                                    {"pid", ::getpid()},
                                                    {"service", runtime.options().service},
                                                    {"draining", runtime.draining()},
                                                    {"fibers", stats.fibers},
                                                    {"rss", stats.resident_bytes},
                                                    {"cpu_seconds", decision::seconds(stats.cpu)},
                                                    {"threads", std::move(threads)},
                                                    {"pools", std::move(pools)},
                                                    {"upstreams", std::move(upstreams)}});
}

}  // namespace penstock
