#include "runtime/admission/node_door.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/admission/waiting.h"
#include "runtime/fiber/fiber_state.h"

namespace penstock {

using decision::Admission;
using decision::CpuGuard;
using decision::GuardMode;

namespace {

// The CPU is saturated in earnest when the door held somebody at so many ticks in turn; and relieved when it held
// nobody for so long.
constexpr int kBusyTicks = 10;
constexpr auto kRelieved = std::chrono::seconds(5);
// With nothing ready, the next are let in after it.
constexpr auto kIdle = std::chrono::milliseconds(1);
// Of refusals for memory: what is in flight now has ended by then, as a rule.
constexpr auto kMemoryRetryAfter = std::chrono::seconds(2);
// Share of the limit from which on not even critical requests are let in.
constexpr double kNearlyFull = 0.93;

Counter& refusals(MetricsRegistry& metrics, const char* guard) {
  return metrics.counter("penstock_door_refused_total",
                         "Requests that were refused, or would have been in shadow mode, at the node's door.",
                         {{"guard", guard}});
}

}  // namespace

// Somebody lets in who waits, or will; the fiber that is to do it may never start, for want of memory.
struct NodeDoor::Serving {
  explicit Serving(Lane& lane) : lane(lane) { lane.served = true; }
  ~Serving() { lane.served = false; }
  Serving(const Serving&) = delete;
  Lane& lane;
};

NodeDoor::NodeDoor(MetricsRegistry& metrics)
    : held_(metrics.counter("penstock_door_held_total", "Requests that waited at the node's door for the CPU.")),
      refused_for_cpu_(refusals(metrics, "cpu")),
      refused_for_memory_(refusals(metrics, "memory")) {
  metrics.collect("penstock_door_waiting", "Requests that wait at the node's door for the CPU.", "gauge",
                  [this](const MetricsRegistry::Emit& emit) { emit({}, waiting()); });
}

NodeDoor::~NodeDoor() = default;

void NodeDoor::open(unsigned threads, Spawn spawn) {
  spawn_ = std::move(spawn);
  for (unsigned i = 0; i < threads; ++i) {
    lanes_.push_back(std::make_unique<Lane>(i, std::max(1, CpuGuard::kLongestQueue / static_cast<int>(threads))));
  }
}

void NodeDoor::apply(const decision::GuardsPolicy& policy, bool shadow) {
  const auto mode = [&](GuardMode mode) { return shadow ? std::min(mode, GuardMode::observe) : mode; };
  cpu_mode_ = mode(policy.cpu);
  memory_mode_ = mode(policy.memory);
}

int NodeDoor::waiting() const {
  int sum = 0;
  for (const auto& lane : lanes_) sum += lane->shown.load(std::memory_order_relaxed);
  return sum;
}

void NodeDoor::set_shares(const std::vector<double>& weights) {
  std::vector<double> given = weights;
  {
    std::lock_guard guard(shares_lock_);
    weights_.swap(given);
  }
  shares_revision_.fetch_add(1, std::memory_order_release);
}

void NodeDoor::take_shares(Lane& lane) {
  const std::uint32_t revision = shares_revision_.load(std::memory_order_acquire);
  if (lane.shares_revision == revision) return;
  std::vector<double> weights;
  weights.reserve(decision::kMostTenants);
  {
    std::lock_guard guard(shares_lock_);
    weights = weights_;
  }
  lane.guard.set_shares(weights);
  lane.shares_revision = revision;
}

bool NodeDoor::refuse_for_memory(decision::Priority priority) {
  if (priority == decision::Priority::critical && !nearly_full_.load(std::memory_order_relaxed)) return false;
  refused_for_memory_.add();
  if (memory_mode_ != GuardMode::act) return true;
  throw Rejected(RejectReason::shed, kMemoryRetryAfter, "the node's memory is in use");
}

void NodeDoor::enter_slowly(Lane& lane, decision::Priority priority, decision::Tenant tenant) {
  if (closed_.load(std::memory_order_relaxed)) refuse_for_memory(priority);
  const GuardMode mode = cpu_mode_;
  if (mode == GuardMode::off) return;
  if (lane.waiting == 0 && fiber::Scheduler::current()->last_delay() < kSaturated) return;
  if (mode == GuardMode::act) return wait_for_cpu(lane, priority, tenant);
  held_.add();
}

void NodeDoor::wait_for_cpu(Lane& lane, decision::Priority priority, decision::Tenant tenant) {
  const auto refuse = [&](RejectReason reason, Duration retry_after) {
    refused_for_cpu_.add();
    throw Rejected(reason, retry_after, "the node's CPU is saturated: " + std::string(decision::to_string(reason)));
  };
  WaitingTicket ticket({.what = "the CPU"});
  ticket.priority = priority;
  ticket.tenant = tenant;
  ticket.deadline = current_deadline();
  take_shares(lane);
  const Instant arrived = fiber::recent_now();
  const auto runnable = [] { return fiber::Scheduler::current()->ready_up_to_two(); };
  const Admission::Answer answer = lane.guard.offer(ticket, runnable(), arrived, lane.decided);
  WaitingTicket::deliver(std::exchange(lane.decided, {}));
  if (answer.offer == Admission::Offer::admitted) return;
  if (answer.offer == Admission::Offer::rejected) refuse(answer.reason, answer.retry_after);

  held_.add();
  struct Waits {
    explicit Waits(Lane& lane) : lane(lane) { show(++lane.waiting); }
    ~Waits() { show(--lane.waiting); }
    void show(int waiting) { lane.shown.store(waiting, std::memory_order_relaxed); }
    Lane& lane;
  };
  fiber::Wake wake;
  {
    const Waits waits(lane);
    try {
      if (!lane.served) {
        spawn_(lane.thread, "door", [this, serving = std::make_shared<Serving>(lane)] { let_in(serving->lane); });
      }
      wake = ticket.waiter.wait(arrived + CpuGuard::kLongestWait);
    } catch (...) {
      lane.guard.withdraw(ticket);
      throw;
    }
  }
  // All of this is on one thread: a verdict is delivered before anything else runs.
  const bool withdrawn = wake != fiber::Wake::notified && lane.guard.withdraw(ticket);
  if (wake == fiber::Wake::cancelled) {
    fiber::throw_if_interrupted(wake, "the CPU");
    throw Cancelled("cancelled while waiting for the CPU");
  }
  if (withdrawn) {
    refuse(fiber::recent_now() >= ticket.deadline ? RejectReason::deadline : RejectReason::queue_timeout,
           std::chrono::seconds(1));
  }
  if (const auto rejected = ticket.verdict()) refuse(*rejected, std::chrono::seconds(1));
}

// Runs behind all that is ready, again and again while somebody waits.
void NodeDoor::let_in(Lane& lane) {
  while (lane.guard.waiting() > 0) {
    lane.guard.poll(fiber::Scheduler::current()->ready_up_to_two(), fiber::recent_now(), lane.decided);
    WaitingTicket::deliver(std::exchange(lane.decided, {}));
    if (fiber::Scheduler::current()->ready_up_to_two() > 0) {
      yield();
      continue;
    }
    try {
      sleep_for(kIdle);
    } catch (const Cancelled&) {
      // So are those who wait.
      yield();
    }
  }
}

NodeDecision NodeDoor::told(bool acts, const char* guard, std::string message) const {
  NodeDecision decision;
  decision.kind = "node";
  decision.action = acts ? "shed" : "admit";
  decision.reason = guard;
  decision.verdict = acts ? guard : "none";
  decision.message = std::move(message);
  const bool cpu = std::string_view(guard) == "cpu";
  decision.shadow = (cpu ? cpu_mode_ : memory_mode_) != GuardMode::act;
  return decision;
}

std::vector<NodeDecision> NodeDoor::tick(Instant now, const decision::MemoryState& memory, int in_flight,
                                         Duration run_delay) {
  std::vector<NodeDecision> decisions;
  const bool closed = memory_.tick(memory, in_flight) && memory_mode_ != GuardMode::off;
  short_ = memory_.most().has_value() && memory_mode_ != GuardMode::off;
  nearly_full_ = static_cast<double>(memory.used) >= kNearlyFull * static_cast<double>(memory.limit);
  closed_ = closed;
  if (closed) closed_at_ = now;
  const auto mib = [](std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  if (const bool acts = closed || now - closed_at_ < kRelieved; acts != told_memory_) {
    told_memory_ = acts;
    decisions.push_back(told(acts, "memory",
                             acts ? fmt::format("{:.0f} of {:.0f} MiB are in use with {} requests in flight: no more "
                                                "are let in but critical ones",
                                                mib(memory.used), mib(memory.limit), in_flight)
                                  : std::string("memory suffices again")));
    decisions.back().evidence = {
        {"used_mib", mib(memory.used)}, {"limit_mib", mib(memory.limit)}, {"in_flight", in_flight}};
  }

  const double held = held_.value(), refused = refused_for_cpu_.value();
  const bool busy = held > held_before_ || refused > refused_before_ || waiting() > 0;
  held_before_ = held;
  refused_before_ = refused;
  busy_ticks_ = busy ? busy_ticks_ + 1 : 0;
  if (busy) busy_at_ = now;
  if (!told_cpu_ ? busy_ticks_ >= kBusyTicks : now - busy_at_ >= kRelieved) {
    told_cpu_ = !told_cpu_;
    decisions.push_back(told(told_cpu_, "cpu",
                             told_cpu_ ? fmt::format("the CPU is saturated: what is ready waits {:.0f} ms for it, {} "
                                                     "requests wait at the door until few are",
                                                     decision::seconds(run_delay) * 1000, waiting())
                                       : std::string("the CPU suffices again")));
    decisions.back().evidence = {
        {"run_delay", decision::seconds(run_delay)}, {"waiting", waiting()}, {"held", held}, {"refused", refused}};
  }
  return decisions;
}

}  // namespace penstock
