#include "controller/loop/cause_loop.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "policy/convert.h"

namespace penstock::controller {

namespace {

constexpr const char* kStates[] = {"free", "freeze", "cut", "search", "track"};
constexpr const char* kVerdicts[] = {"none", "theirs", "ours", "full", "dead", "unidentified"};

}  // namespace

// Samples are made at the scrape, so that an upstream that is gone leaves none behind.
struct CauseLoop::Meters {
  explicit Meters(MetricsRegistry& metrics, Fleet& fleet)
      : duration(metrics.histogram("penstock_controller_cause_duration_seconds",
                                   "Time of one look at the fleet's tests for the cause of slowness.")) {
    const auto set = [&](const char* name, const char* help, const char* label, auto words, auto of) {
      metrics.collect(name, help, "gauge", [&fleet, label, words, of](const MetricsRegistry::Emit& emit) {
        for (const auto& [key, view] : fleet.causes())
          for (const char* word : words)
            emit({{"service", key.first}, {"upstream", key.second}, {label, word}}, of(view) == word ? 1 : 0);
      });
    };
    set("penstock_fleet_cause_state", "What the fleet's test for the cause of slowness does: 0 or 1 for each state.",
        "state", std::to_array(kStates), [](const v1::CauseView& view) { return view.state(); });
    set("penstock_fleet_cause_verdict", "Whose fault the slowness is, by the fleet's test: 0 or 1 for each verdict.",
        "verdict", std::to_array(kVerdicts), [](const v1::CauseView& view) { return view.verdict(); });
    metrics.collect("penstock_fleet_upstream_limit",
                    "Calls in flight of all nodes together, by the fleet's test; absent: unbounded.", "gauge",
                    [&fleet](const MetricsRegistry::Emit& emit) {
                      for (const auto& [key, view] : fleet.causes())
                        if (view.has_limit()) emit({{"service", key.first}, {"upstream", key.second}}, view.limit());
                    });
    metrics.collect("penstock_fleet_usual_latency_seconds",
                    "Latency of the upstream when all is well, as the fleet's test has it.", "gauge",
                    [&fleet](const MetricsRegistry::Emit& emit) {
                      for (const auto& [key, view] : fleet.causes())
                        emit({{"service", key.first}, {"upstream", key.second}},
                             decision::seconds(policy::to_chrono(view.usual_latency())));
                    });
  }

  Histogram& duration;
};

CauseLoop::CauseLoop(Fleet& fleet, DecisionLog& log, Clock& clock, MetricsRegistry& metrics)
    : fleet_(fleet), log_(log), clock_(clock), meters_(std::make_unique<Meters>(metrics, fleet)) {}

CauseLoop::~CauseLoop() = default;

void CauseLoop::run() {
  decision::Instant due = clock_.now();
  while (true) {
    turn();
    // Behind by more than a tick, it does not catch up.
    due = std::max<decision::Instant>(due + CauseTests::kTick, clock_.now());
    sleep_for(due - clock_.now());
  }
}

void CauseLoop::turn() {
  const decision::Instant began = clock_.now();
  const auto history = fleet_.baselines();
  CauseTests::Plan plan = tests_.turn(fleet_.streaming(), began, clock_.wall().time_since_epoch(), history->upstreams);
  // The log first: a limit is never in force without the reason being kept.
  for (v1::Decision& decision : plan.decisions) log_.append(std::move(decision));
  fleet_.lead(plan.leads);
  for (const auto& [id, period] : plan.periods) fleet_.set_counters_period(id, period);
  fleet_.set_causes(tests_.views());
  meters_->duration.observe(clock_.now() - began);
}

}  // namespace penstock::controller
