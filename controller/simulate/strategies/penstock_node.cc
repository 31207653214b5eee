#include "controller/simulate/strategies/penstock_node.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "penstock/decision/memory_guard.h"
#include "penstock/decision/pool_sizing.h"

namespace penstock::simulate {

using decision::Admission;
using decision::Verdict;

namespace {

constexpr int kUnbounded = std::numeric_limits<int>::max();
// How often the CPU's door is looked at while somebody waits.
constexpr Duration kDoorPoll = std::chrono::milliseconds(2);

}  // namespace

int PenstockNode::Pool::limit_in_force(std::int64_t bytes_per_request) const {
  if (!imposed) return decision::fallback_limit(policy, bytes_per_request);
  decision::PoolPolicy ceiling = policy;
  ceiling.fallback_limit.reset();
  return std::min(*imposed, decision::fallback_limit(ceiling, bytes_per_request));
}

PenstockNode::PenstockNode(Host& host, const decision::Policy& policy)
    : host_(host),
      policy_(policy),
      door_(host.scenario().nodes.cores, decision::CpuGuard::kLongestQueue, decision::CpuGuard::kLongestWait) {
  const Scenario& scenario = host.scenario();
  std::vector<decision::PoolPolicy> pools = policy.pools;
  if (std::ranges::find(pools, "default", &decision::PoolPolicy::name) == pools.end())
    pools.insert(pools.begin(), {{}});
  for (const decision::PoolPolicy& pool : pools) {
    Pool made;
    made.policy = pool;
    made.admission = std::make_unique<Admission>(
        pool.queue, policy.shadow ? kUnbounded : decision::fallback_limit(pool, decision::RequestMemory::kAssumed));
    pools_.push_back(std::move(made));
  }
  const auto pool_named = [&](const std::string& name) {
    const auto found = std::ranges::find(pools, name, &decision::PoolPolicy::name);
    return static_cast<std::uint32_t>(found - pools.begin());
  };
  for (const PageModel& page : scenario.pages) {
    Route route{pool_named("default"), page.priority, std::nullopt, {}};
    std::string tenant;
    for (const decision::RoutePolicy& candidate : policy.routes) {
      if (!decision::route_matches(candidate.match, page.path)) continue;
      route = {pool_named(candidate.pool), candidate.priority, policy.shadow ? std::nullopt : candidate.deadline, {}};
      tenant = candidate.tenant;
      break;
    }
    for (int i = 0; i < std::max(page.tenants, 1); ++i) {
      if (tenant.empty() && (policy.tenants.header.empty() || policy.tenants.named.empty())) break;
      // What the header says.
      const std::string said = page.tenants > 0 ? page.name + "-" + std::to_string(i) : std::string();
      route.tenants.push_back(decision::tenant_named(policy.tenants, tenant.empty() ? said : tenant));
    }
    routes_.push_back(std::move(route));
  }
  for (std::uint32_t i = 0; i < scenario.upstreams.size(); ++i) {
    const auto named = std::ranges::find(policy.upstreams, scenario.upstreams[i].name, &decision::UpstreamPolicy::name);
    const bool guarded = named != policy.upstreams.end();
    guards_.emplace_back(host, i, guarded ? *named : decision::UpstreamPolicy{}, guarded, policy.shadow);
  }
  const std::vector<double> weights = decision::weights(policy.tenants);
  for (Pool& pool : pools_) pool.admission->set_shares(weights);
  for (UpstreamGuard& guard : guards_) guard.set_shares(weights);
  door_.set_shares(weights);
}

PenstockNode::State& PenstockNode::state_of(const Request& request) {
  while (request.id >= states_.size()) states_.emplace_back();
  return states_[request.id];
}

void PenstockNode::arrive(Request& request) {
  const Route& route = routes_[request.page];
  request.priority = route.priority;
  if (route.deadline) request.deadline = request.arrived + *route.deadline;
  State& state = state_of(request);
  state = State{};
  state.request = &request;
  state.pool = route.pool;
  state.whose = static_cast<decision::Ticket&>(state).tenant = route.tenant(request);
  static_cast<decision::Ticket&>(state).priority = route.priority;
  static_cast<decision::Ticket&>(state).deadline = request.deadline;
  ++pools_[route.pool].requests;
  if (policy_.shadow) return enter(state);
  state.door.state = &state;
  state.door.priority = route.priority;
  state.door.tenant = state.whose;
  state.door.deadline = request.deadline;
  const Admission::Answer answer = door_.offer(state.door, runnable(), host_.now(), let_in_);
  if (answer.offer == Admission::Offer::admitted) enter(state);
  if (answer.offer == Admission::Offer::rejected) host_.refuse(request, answer.reason);
  open_door();
}

int PenstockNode::runnable() const {
  return static_cast<int>(std::lround(host_.load().runnable_per_core * host_.scenario().nodes.cores));
}

void PenstockNode::open_door() {
  if (door_.waiting() == 0 && let_in_.empty()) return;
  door_.poll(runnable(), host_.now(), let_in_);
  while (!let_in_.empty()) {
    const decision::Verdict verdict = let_in_.pop_front();
    State& state = *static_cast<AtDoor*>(verdict.ticket)->state;
    if (verdict.rejected) {
      host_.refuse(*state.request, *verdict.rejected);
    } else {
      enter(state);
    }
  }
  if (door_.waiting() > 0) host_.wake_at(host_.now() + kDoorPoll);
}

void PenstockNode::enter(State& state) {
  Pool& pool = pools_[state.pool];
  const Admission::Answer answer = pool.admission->offer(state, host_.now(), decided_);
  if (answer.offer == Admission::Offer::admitted) {
    state.admitted = host_.now();
    host_.start(*state.request);
  } else if (answer.offer == Admission::Offer::rejected) {
    host_.refuse(*state.request, answer.reason);
  }
  settle(pool);
}

void PenstockNode::forget(const Request& request) {
  State& state = state_of(request);
  if (!door_.withdraw(state.door)) pools_[state.pool].admission->withdraw(state);
}

void PenstockNode::ended(const Request& request, Fate) {
  State& state = state_of(request);
  Pool& pool = pools_[state.pool];
  const Duration busy = host_.now() - state.admitted;
  ++pool.completed;
  pool.busy_seconds += decision::seconds(busy);
  pool.admission->release(busy, host_.now(), decided_, state.tenant);
  settle(pool);
  open_door();
}

void PenstockNode::settle(Pool&) {
  while (!decided_.empty()) {
    const decision::Verdict verdict = decided_.pop_front();
    State& state = static_cast<State&>(*verdict.ticket);
    if (verdict.rejected) {
      host_.refuse(*state.request, *verdict.rejected);
    } else {
      state.admitted = host_.now();
      host_.start(*state.request);
    }
  }
}

void PenstockNode::call(const Request& request, const Call& call) {
  State& state = state_of(request);
  guards_[call.upstream].begin(state.call, request, state.whose);
}

void PenstockNode::forget_call(const Request& request, const Call& call) {
  guards_[call.upstream].forget(state_of(request).call);
}

void PenstockNode::call_ended(const Request& request, const Call& call, Fate fate) {
  guards_[call.upstream].end(state_of(request).call, call, fate);
}

bool PenstockNode::may_retry(const Request&, const Call& call) { return guards_[call.upstream].may_retry(); }

void PenstockNode::update_limit(Pool& pool) {
  const int limit = policy_.shadow ? kUnbounded : pool.limit_in_force(bytes_per_request());
  if (limit != pool.admission->limit()) pool.admission->set_limit(limit, host_.now(), decided_);
}

void PenstockNode::impose(Pool& pool, int limit) {
  pool.imposed = limit;
  update_limit(pool);
  settle(pool);
}

// As Registry::tick().
void PenstockNode::tick() {
  const Instant now = host_.now();
  if (lease_until_ != Instant{} && now > lease_until_) {
    lease_until_ = Instant{};
    for (Pool& pool : pools_) pool.imposed.reset();
    for (UpstreamGuard& guard : guards_) guard.release_lease();
  }
  decision::MemoryState state{.used = host_.memory().used, .base = host_.memory().base, .limit = host_.memory().limit};
  int in_pools = 0;
  for (const Pool& pool : pools_) {
    state.budget += pool.policy.memory_bytes;
    in_pools += pool.admission->in_flight() + pool.admission->queue_length();
  }
  int in_calls = 0;
  for (const UpstreamGuard& guard : guards_) in_calls += guard.in_flight() + guard.waiting();
  const int in_flight = std::max(in_pools, in_calls);
  memory_.sample(host_.memory().used, in_flight);
  const std::int64_t each = memory_.bytes_per_request();
  state.in_requests = in_flight * each;
  const double pressure = decision::memory_pressure(state);
  const std::int64_t budget = decision::memory_for_requests(state);
  for (UpstreamGuard& guard : guards_) {
    decision::UpstreamPolicy policy = guard.policy();
    policy.limit.max = kUnbounded;
    const int calls = guard.in_flight() + guard.waiting();
    guard.tick(pressure, decision::bulkhead(policy, budget, (in_flight - calls) * each, each),
               calendar_.may_test(policy.name));
    const decision::CauseTest& test = guard.decides().cause_test();
    if (test.wants_test() || test.testing())
      calendar_.ask(policy.name, test.testing(), host_.wall().time_since_epoch());
  }
  calendar_.resolve();
  for (Pool& pool : pools_) {
    update_limit(pool);
    pool.admission->expire(now, decided_);
    settle(pool);
  }
}

void PenstockNode::expose(Exposition& exposition) const {
  for (const Pool& pool : pools_) {
    exposition.pools.push_back(
        {pool.requests, pool.completed, pool.busy_seconds, static_cast<double>(pool.admission->in_flight())});
  }
  for (const UpstreamGuard& guard : guards_) exposition.upstreams.push_back(guard.counters());
}

std::optional<double> PenstockNode::limit(std::uint32_t upstream) const {
  const auto limit = guards_[upstream].limit();
  return limit ? std::optional<double>(*limit) : std::nullopt;
}

}  // namespace penstock::simulate
