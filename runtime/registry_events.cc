#include <spdlog/spdlog.h>

#include <chrono>
#include <iterator>
#include <mutex>
#include <utility>

#include "penstock/node_decision.h"
#include "runtime/registry.h"
#include "runtime/upstream/upstream_decisions.h"

// What pools and upstreams decided: logged, counted, and kept for the agent.
namespace penstock {
namespace {

constexpr std::size_t kEventsKept = 1000;

template <class Event>
void keep(std::deque<Event>& events, Event event) {
  if (events.size() == kEventsKept) events.pop_front();
  events.push_back(std::move(event));
}

template <class Event>
std::vector<Event> take(std::deque<Event>& events, SpinLock& lock) {
  std::deque<Event> taken;
  {
    std::lock_guard guard(lock);
    taken.swap(events);
  }
  return {std::make_move_iterator(taken.begin()), std::make_move_iterator(taken.end())};
}

}  // namespace

std::vector<Runtime::BreakerEvent> Registry::take_breaker_events() { return take(events_, events_lock_); }

std::vector<NodeDecision> Registry::take_decisions() { return take(decisions_, events_lock_); }

void Registry::record(const Upstream& upstream, const decision::CircuitBreaker::Transition& transition) {
  const std::string from(decision::to_string(transition.from));
  const std::string to(decision::to_string(transition.to));
  spdlog::warn("{}", to_json(breaker_decision(upstream.name(), transition, policy().shadow)));
  metrics_
      .counter("penstock_breaker_transitions_total", "Changes of state of circuit breakers.",
               {{"upstream", upstream.name()}, {"from", from}, {"to", to}, {"reason", transition.reason}})
      .add();
  std::lock_guard guard(events_lock_);
  keep(events_, {upstream.name(), transition, std::chrono::system_clock::now()});
}

void Registry::record(const NodeDecision& decision) {
  spdlog::warn("{}", to_json(decision));
  const bool watched = !decision.policy.empty();
  metrics_
      .counter(watched ? "penstock_shadow_decisions_total" : "penstock_node_decisions_total",
               watched ? "What a policy in SHADOW beside the one in force would have done on the node."
                       : "What the node decided by itself, but for changes of breakers: "
                         "penstock_breaker_transitions_total.",
               {{"kind", decision.kind},
                {"name", decision.name},
                {"action", decision.action},
                {"reason", decision.reason},
                {"verdict", decision.verdict}})
      .add();
  std::lock_guard guard(events_lock_);
  keep(decisions_, decision);
}

}  // namespace penstock
