#include "penstock/pool.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "penstock/decision/admission.h"
#include "penstock/decision/pool_sizing.h"
#include "penstock/fiber.h"
#include "penstock/spin_lock.h"
#include "runtime/admission/pool_access.h"
#include "runtime/admission/request_memory.h"
#include "runtime/admission/waiting.h"
#include "runtime/fiber/fiber_state.h"

namespace penstock {

using decision::Admission;
using decision::Verdict;

namespace {

constexpr int kUnbounded = std::numeric_limits<int>::max();

Instant now() { return std::chrono::steady_clock::now(); }

}  // namespace

struct Pool::State {
  State(const decision::PoolPolicy& given, MetricsRegistry& metrics)
      : name(given.name),
        queue_wait(metrics.histogram("penstock_pool_queue_wait_seconds",
                                     "Time from asking for a place until it was given or refused.", {{"pool", name}})),
        service_time(
            metrics.histogram("penstock_pool_request_seconds", "Time from admission to completion.", {{"pool", name}})),
        policy(given),
        admission(given.queue, decision::fallback_limit(given, RequestMemory::kAssumed)) {}

  // Runs change(decided) under the lock, then tells those whose fate it decided.
  template <class Change>
  void locked(Change&& change) {
    std::vector<Verdict> decided;
    {
      std::lock_guard guard(lock);
      change(decided);
      for (const Verdict& verdict : decided) count(verdict.rejected);
    }
    Waiting::deliver(decided);
  }

  void count(std::optional<RejectReason> outcome) {
    if (outcome) {
      ++rejected[static_cast<int>(*outcome)];
    } else {
      ++admitted;
    }
  }

  int limit_in_force() const {
    if (!imposed) return decision::fallback_limit(policy, bytes_per_request);
    decision::PoolPolicy ceiling = policy;
    ceiling.fallback_limit.reset();
    return std::min(*imposed, decision::fallback_limit(ceiling, bytes_per_request));
  }

  void update_limit(std::vector<Verdict>& decided) {
    const int limit = shadow ? kUnbounded : limit_in_force();
    if (limit != admission.limit()) admission.set_limit(limit, now(), decided);
  }

  // When one more of those that now wait may be admitted.
  Duration retry_after() const {
    const int limit = std::max(1, admission.limit());
    return decision::from_seconds(mean_busy_seconds * (admission.queue_length() + 1) / limit);
  }

  [[noreturn]] void refuse(RejectReason reason, Duration retry_after) const {
    throw Rejected(reason, retry_after, "pool " + name + ": " + std::string(decision::to_string(reason)));
  }

  const std::string name;
  Histogram& queue_wait;
  Histogram& service_time;

  mutable SpinLock lock;
  // Guarded by lock.
  decision::PoolPolicy policy;
  bool shadow = false;
  std::optional<int> imposed;
  std::int64_t bytes_per_request = RequestMemory::kAssumed;
  Admission admission;
  std::uint64_t admitted = 0;
  std::uint64_t completed = 0;
  Duration busy{};
  // Moving average over some hundred requests.
  double mean_busy_seconds = 0;
  std::uint64_t rejected[decision::kRejectReasons]{};
};

Pool::Pool(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pool::~Pool() = default;

Pool::Permit Pool::acquire(Priority priority) {
  fiber::require_fiber("Pool::acquire()");
  State& state = *state_;
  const Instant arrived = now();
  Waiting waiting({.what = "a place in pool", .name = &state.name});
  waiting.priority = priority;
  waiting.deadline = current_deadline();

  Admission::Answer answer;
  Duration max_wait{};
  state.locked([&](std::vector<Verdict>& decided) {
    answer = state.admission.offer(waiting, arrived, decided);
    max_wait = state.policy.queue.max_wait;
    if (answer.offer == Admission::Offer::admitted) state.count(std::nullopt);
    if (answer.offer == Admission::Offer::rejected) state.count(answer.reason);
  });
  if (answer.offer == Admission::Offer::rejected) state.refuse(answer.reason, answer.retry_after);
  if (answer.offer == Admission::Offer::admitted) {
    state.queue_wait.observe(Duration::zero());
    return Permit(this, arrived);
  }

  const fiber::Wake wake = waiting.waiter.wait(arrived + max_wait);
  const Instant woken = now();
  std::optional<RejectReason> rejected;
  Duration retry_after{};
  bool withdrawn = false;
  if (wake != fiber::Wake::notified) {
    std::lock_guard guard(state.lock);
    withdrawn = state.admission.withdraw(waiting);
    if (withdrawn && wake == fiber::Wake::deadline) {
      rejected = woken >= waiting.deadline ? RejectReason::deadline : RejectReason::queue_timeout;
      state.count(rejected);
    }
    retry_after = state.retry_after();
  }
  if (!withdrawn) rejected = waiting.verdict();

  if (wake == fiber::Wake::cancelled) {
    // Admitted in the very moment: its place goes to the next.
    if (!withdrawn && !rejected) release(woken);
    fiber::throw_if_interrupted(wake, "a place in a pool");
    throw Cancelled("cancelled while waiting for pool " + state.name);
  }
  state.queue_wait.observe(woken - arrived);
  if (rejected) {
    if (wake == fiber::Wake::notified) {
      std::lock_guard guard(state.lock);
      retry_after = state.retry_after();
    }
    state.refuse(*rejected, retry_after);
  }
  return Permit(this, woken);
}

void Pool::release(Instant since) {
  const Instant at = now();
  state_->service_time.observe(at - since);
  state_->locked([&](std::vector<Verdict>& decided) {
    const Duration busy = at - since;
    ++state_->completed;
    state_->busy += busy;
    state_->mean_busy_seconds += (decision::seconds(busy) - state_->mean_busy_seconds) /
                                 static_cast<double>(std::min<std::uint64_t>(state_->completed, 256));
    state_->admission.release(busy, at, decided);
  });
}

const std::string& Pool::name() const { return state_->name; }

int Pool::limit() const {
  std::lock_guard guard(state_->lock);
  return state_->limit_in_force();
}

int Pool::in_flight() const {
  std::lock_guard guard(state_->lock);
  return state_->admission.in_flight();
}

int Pool::queue_length() const {
  std::lock_guard guard(state_->lock);
  return state_->admission.queue_length();
}

void Pool::set_limit(int limit) {
  if (limit < 1)
    throw std::invalid_argument("pool " + state_->name + ": limit " + std::to_string(limit) + " is below 1");
  state_->locked([&](std::vector<Verdict>& decided) {
    state_->imposed = limit;
    state_->update_limit(decided);
  });
}

Pool::Permit::Permit(Permit&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), since_(other.since_) {}

Pool::Permit& Pool::Permit::operator=(Permit&& other) noexcept {
  if (this != &other) {
    Permit ended(std::move(*this));
    pool_ = std::exchange(other.pool_, nullptr);
    since_ = other.since_;
  }
  return *this;
}

Pool::Permit::~Permit() {
  if (pool_ != nullptr) pool_->release(since_);
}

std::unique_ptr<Pool> PoolAccess::make(const decision::PoolPolicy& policy, MetricsRegistry& metrics) {
  return std::unique_ptr<Pool>(new Pool(std::make_unique<Pool::State>(policy, metrics)));
}

void PoolAccess::apply(Pool& pool, const decision::PoolPolicy& policy, bool shadow) {
  Pool::State& state = *pool.state_;
  state.locked([&](std::vector<Verdict>& decided) {
    const bool new_queue = policy.queue != state.policy.queue;
    state.policy = policy;
    state.shadow = shadow;
    if (new_queue) state.admission.set_queue(policy.queue, now(), decided);
    state.update_limit(decided);
  });
}

void PoolAccess::tick(Pool& pool, Instant at, std::int64_t bytes_per_request) {
  Pool::State& state = *pool.state_;
  state.locked([&](std::vector<Verdict>& decided) {
    state.bytes_per_request = bytes_per_request;
    state.update_limit(decided);
    state.admission.expire(at, decided);
  });
}

void PoolAccess::release_limit(Pool& pool) {
  Pool::State& state = *pool.state_;
  state.locked([&](std::vector<Verdict>& decided) {
    state.imposed.reset();
    state.update_limit(decided);
  });
}

std::int64_t PoolAccess::memory_bytes(const Pool& pool) {
  std::lock_guard guard(pool.state_->lock);
  return pool.state_->policy.memory_bytes;
}

Runtime::PoolStats PoolAccess::stats(const Pool& pool) {
  const Pool::State& state = *pool.state_;
  std::lock_guard guard(state.lock);
  Runtime::PoolStats stats{
      .name = state.name,
      .limit = state.limit_in_force(),
      .in_flight = state.admission.in_flight(),
      .queue_length = state.admission.queue_length(),
      .admitted = state.admitted,
      .completed = state.completed,
      .busy = state.busy,
      .rejected = {},
  };
  std::copy(std::begin(state.rejected), std::end(state.rejected), std::begin(stats.rejected));
  return stats;
}

}  // namespace penstock
