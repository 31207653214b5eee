#include "controller/simulate/node.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "controller/simulate/users.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTickPeriod = 100ms;
// Until the balancer's checks have seen that a node is down.
constexpr Duration kHealthCheck = 2s;

}  // namespace

Node::Node(const World& world, std::uint32_t number)
    : scenario_(world.scenario),
      events_(world.events),
      outcome_(world.outcome),
      users_(world.users),
      upstreams_(world.upstreams),
      ensemble_(world.ensemble),
      number_(number),
      random_(world.seed, "node " + std::to_string(number)),
      computing_(world.seed, "computing on node " + std::to_string(number)) {
  boot();
  for (const Restart& restart : scenario_.nodes.restarts) {
    if (restart.node == number_) events_.at(simulate::at(restart.at), *this, kRestart, 0);
  }
  // Nodes do not tick in step.
  const Duration phase = kTickPeriod * number_ / scenario_.nodes.count;
  events_.at(kStart + phase, *this, kTick, 0);
}

Node::~Node() = default;

void Node::boot() {
  strategy_ = ensemble_.make(*this);
  manner_ = strategy_->manner();
  memory_ = scenario_.nodes.idle_memory_bytes;
  outcome_.memory_used(memory_);
}

std::int64_t Node::memory_of_started() const {
  return manner_.threads ? scenario_.nodes.thread_memory_bytes : scenario_.nodes.request_memory_bytes;
}

void Node::add_memory(std::int64_t bytes) {
  memory_ += bytes;
  if (bytes <= 0) return;
  outcome_.memory_used(memory_);
  if (memory_ > scenario_.nodes.memory_bytes) events_.at(events_.now(), *this, kCrash, 0, incarnation_);
}

std::uint32_t Node::arrive(std::uint32_t user, std::uint32_t page_index, std::uint32_t tenant) {
  std::uint32_t slot;
  if (free_.empty()) {
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Live& live = slots_[slot];
  const PageModel& page = scenario_.pages[page_index];
  live.request = {slot, page_index, tenant, page.priority, events_.now(), Instant::max()};
  live.user = user;
  live.stage = Stage::door;
  live.left = live.given_up = false;
  live.step = 0;
  live.calls = 0;
  ++at_door_;
  add_memory(scenario_.nodes.queued_memory_bytes);
  strategy_->arrive(live.request);
  if (live.request.deadline != Instant::max() && live.stage != Stage::refusing) {
    events_.at(live.request.deadline, *this, kDeadline, slot, live.alive);
  }
  return slot;
}

void Node::leave(std::uint32_t slot) {
  Live& live = slots_[slot];
  live.left = true;
  if (manner_.cancels) give_up(live, Fate::cancelled);
}

void Node::start(const Request& request) {
  Live& live = slots_[request.id];
  --at_door_;
  ++started_;
  add_memory(memory_of_started() - scenario_.nodes.queued_memory_bytes);
  make_runnable(live);
}

void Node::refuse(const Request& request, decision::RejectReason) {
  Live& live = slots_[request.id];
  live.stage = Stage::refusing;
  live.runnable_since = events_.now();
  if (running_ < scenario_.nodes.cores) {
    run(live);
  } else {
    refusals_.push_back(request.id);
  }
}

void Node::make_runnable(Live& live) {
  live.stage = Stage::runnable;
  live.runnable_since = events_.now();
  if (running_ < scenario_.nodes.cores) {
    run(live);
  } else {
    runnable_.push_back(live.request.id);
  }
}

void Node::run(Live& live) {
  ++running_;
  Duration cpu = scenario_.nodes.refusal_cpu;
  if (live.stage != Stage::refusing) {
    live.stage = Stage::running;
    const PageModel& asked = page(live);
    const double mean = decision::seconds(asked.cpu) / static_cast<double>(asked.calls.size() + 1);
    const double sigma = asked.cpu_spread;
    cpu = decision::from_seconds(computing_.log_normal(mean * std::exp(-sigma * sigma / 2), sigma));
  }
  tick_delay_ += events_.now() - live.runnable_since;
  ++tick_began_;
  cpu_used_ += cpu;
  tick_cpu_ += cpu;
  events_.at(events_.now() + cpu, *this, kComputed, live.request.id, incarnation_);
}

void Node::next_core() {
  --running_;
  while (running_ < scenario_.nodes.cores) {
    if (!refusals_.empty()) {
      Live& live = slots_[refusals_.front()];
      refusals_.pop_front();
      run(live);
    } else if (!runnable_.empty()) {
      Live& live = slots_[runnable_.front()];
      runnable_.pop_front();
      if (live.given_up) {
        end(live, live.left ? Fate::cancelled : Fate::timeout);
      } else {
        run(live);
      }
    } else {
      return;
    }
  }
}

void Node::computed(Live& live) {
  if (live.stage == Stage::refusing) {
    reply(live, false, true);
    --at_door_;
    add_memory(-scenario_.nodes.queued_memory_bytes);
    free_slot(live);
  } else if (live.step == page(live).calls.size()) {
    end(live, Fate::ok);
  } else if (live.given_up) {
    end(live, live.left ? Fate::cancelled : Fate::timeout);
  } else {
    live.call = {page(live).calls[live.step], 0, {}, {}, {}};
    ask(live);
  }
  next_core();
}

void Node::ask(Live& live) {
  live.stage = Stage::asking;
  live.call.asked = events_.now();
  live.call.retry_after = kStart;
  ++live.calling;
  strategy_->call(live.request, live.call);
}

void Node::send(const Request& request, Instant deadline) {
  Live& live = slots_[request.id];
  live.stage = Stage::calling;
  live.call.sent = events_.now();
  ++live.calls;
  live.job = upstreams_[live.call.upstream]->call(*this, request.id, link_delay());
  if (deadline != Instant::max()) events_.at(deadline, *this, kCallDeadline, request.id, live.calling);
}

void Node::refuse_call(const Request& request, decision::RejectReason) {
  Live& live = slots_[request.id];
  live.stage = Stage::failing;
  events_.at(events_.now(), *this, kCallRefused, request.id, live.calling);
}

Duration Node::link_delay() const {
  Duration extra{};
  for (const SlowLink& link : scenario_.nodes.slow_links) {
    if (link.node == number_ && link.window.contains(since_start(events_.now()))) extra += link.extra;
  }
  return extra;
}

void Node::answered(std::uint32_t slot, Fate fate, Instant retry_after) { call_ended(slots_[slot], fate, retry_after); }

void Node::call_ended(Live& live, Fate fate, Instant retry_after) {
  ++live.calling;
  live.call.retry_after = retry_after;
  strategy_->call_ended(live.request, live.call, fate);
  if (fate == Fate::ok) {
    ++live.step;
    return make_runnable(live);
  }
  const bool again = live.call.attempt < page(live).retries && events_.now() < live.request.deadline && !live.given_up;
  if (again && strategy_->may_retry(live.request, live.call)) {
    ++live.call.attempt;
    return ask(live);
  }
  end(live, fate);
}

void Node::give_up(Live& live, Fate fate) {
  live.given_up = true;
  switch (live.stage) {
    case Stage::free:
    case Stage::refusing:
    case Stage::failing:
    case Stage::runnable:
    case Stage::running:
      return;
    case Stage::door:
      strategy_->forget(live.request);
      --at_door_;
      add_memory(-scenario_.nodes.queued_memory_bytes);
      reply(live, false, false);
      return free_slot(live);
    case Stage::asking:
      ++live.calling;
      strategy_->forget_call(live.request, live.call);
      return end(live, fate);
    case Stage::calling:
      upstreams_[live.call.upstream]->abandon(live.job);
      return call_ended(live, fate, kStart);
  }
}

void Node::end(Live& live, Fate fate) {
  --started_;
  add_memory(-memory_of_started());
  const bool useful = fate == Fate::ok && !live.left;
  outcome_.calls_made(live.calls, useful, live.request.arrived);
  reply(live, fate == Fate::ok, false);
  strategy_->ended(live.request, fate);
  free_slot(live);
}

void Node::reply(Live& live, bool ok, bool refused) {
  if (!live.left) users_.answered(live.user, ok, refused);
  live.left = true;
}

void Node::free_slot(Live& live) {
  live.stage = Stage::free;
  ++live.alive;
  ++live.calling;
  free_.push_back(live.request.id);
}

void Node::crash() {
  outcome_.crashed();
  ++incarnation_;
  ++wakes_;
  strategy_.reset();
  delisted_at_ = events_.now() + kHealthCheck;
  running_ = started_ = at_door_ = 0;
  refusals_.clear();
  runnable_.clear();
  memory_ = scenario_.nodes.idle_memory_bytes;
  for (Live& live : slots_) {
    if (live.stage == Stage::free) continue;
    if (live.stage == Stage::calling) upstreams_[live.call.upstream]->abandon(live.job);
    outcome_.calls_made(live.calls, false, live.request.arrived);
    reply(live, false, false);
    free_slot(live);
  }
  events_.after(scenario_.nodes.start_time, *this, kUp, 0);
}

Load Node::load() const {
  const double runnable = static_cast<double>(running_) + static_cast<double>(runnable_.size());
  return {cpu_busy_, runnable / scenario_.nodes.cores, run_delay_, started_, at_door_};
}

Memory Node::memory() const { return {memory_, scenario_.nodes.memory_bytes, scenario_.nodes.idle_memory_bytes}; }

void Node::wake_at(Instant when) { events_.at(when, *this, kWake, 0, ++wakes_); }

void Node::conclude(std::uint32_t upstream, Cause cause, std::string_view message) {
  outcome_.concluded(events_.now(), number_, upstream, cause, message);
}

void Node::note_breaker(std::uint32_t upstream, bool open) {
  outcome_.breaker_moved(events_.now(), number_, upstream, open);
}

void Node::tick() {
  events_.after(kTickPeriod, *this, kTick, 0);
  cpu_busy_ = std::min(1.0, decision::seconds(tick_cpu_) / decision::seconds(kTickPeriod) / scenario_.nodes.cores);
  run_delay_ = tick_began_ > 0 ? tick_delay_ / tick_began_ : Duration::zero();
  tick_cpu_ = tick_delay_ = Duration::zero();
  tick_began_ = 0;
  if (strategy_) strategy_->tick();
}

void Node::happen(std::uint8_t kind, std::uint32_t argument) {
  switch (kind) {
    case kComputed:
      return computed(slots_[argument]);
    case kDeadline:
      return give_up(slots_[argument], Fate::timeout);
    case kCallDeadline: {
      Live& live = slots_[argument];
      upstreams_[live.call.upstream]->abandon(live.job);
      return call_ended(live, Fate::timeout, kStart);
    }
    case kCallRefused: {
      Live& live = slots_[argument];
      ++live.calling;
      return end(live, live.left ? Fate::cancelled : Fate::error);
    }
    case kTick:
      return tick();
    case kWake:
      if (strategy_) strategy_->wake();
      return;
    case kCrash:
    case kRestart:
      if (strategy_) crash();
      return;
    case kUp:
      return boot();
  }
}

}  // namespace penstock::simulate
