#include "penstock/pool.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include "penstock/decision/admission.h"
#include "penstock/fiber.h"
#include "runtime/admission/pool_access.h"
#include "runtime/admission/pool_state.h"
#include "runtime/admission/waiting.h"
#include "runtime/fiber/fiber_state.h"

namespace penstock {

using decision::Admission;
using decision::Verdicts;

Pool::Pool(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pool::~Pool() = default;

Pool::Permit Pool::acquire(Priority priority) {
  fiber::require_fiber("Pool::acquire()");
  State& state = *state_;
  const Instant arrived = fiber::recent_now();
  const Instant deadline = current_deadline();
  if (deadline > arrived && state.take()) {
    state.queue_wait.observe(Duration::zero());
    return Permit(this, arrived, decision::kUncounted);
  }
  return acquire_slowly(priority, arrived, deadline);
}

Pool::Permit Pool::acquire_slowly(Priority priority, Instant arrived, Instant deadline) {
  State& state = *state_;
  WaitingTicket waiting({.what = "a place in pool", .name = &state.name});
  waiting.priority = priority;
  if (const auto& account = fiber::current().account) waiting.tenant = account->tenant;
  waiting.deadline = deadline;

  Admission::Answer answer;
  Duration max_wait{};
  state.locked([&](Verdicts& decided) {
    ++state.slow_paths;
    answer = state.offer(waiting, arrived, decided);
    max_wait = state.policy.queue.max_wait;
    if (answer.offer == Admission::Offer::admitted) {
      state.count(std::nullopt);
      state.open_shard();
    }
    if (answer.offer == Admission::Offer::rejected) state.count(answer.reason);
  });
  if (answer.offer == Admission::Offer::rejected) state.refuse(answer.reason, answer.retry_after);
  if (answer.offer == Admission::Offer::admitted) {
    state.queue_wait.observe(Duration::zero());
    return Permit(this, arrived, waiting.tenant);
  }

  const auto withdraw = [&] {
    std::lock_guard guard(state.lock);
    return state.admission.withdraw(waiting);
  };
  fiber::Wake wake;
  try {
    wake = waiting.waiter.wait(arrived + max_wait);
  } catch (...) {
    if (!withdraw() && !waiting.verdict()) release(fiber::recent_now(), waiting.tenant);
    throw;
  }
  const Instant woken = fiber::recent_now();
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
    if (!withdrawn && !rejected) release(woken, waiting.tenant);
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
  return Permit(this, woken, waiting.tenant);
}

void Pool::release(Instant since, decision::Tenant tenant) {
  State& state = *state_;
  // Threads differ by what a moment may be old.
  const Instant at = std::max(fiber::recent_now(), since);
  const Duration busy = at - since;
  state.service_time.observe(busy);
  // Nobody waits where a shard is open, and nothing is handed out by shares: but what was counted must be told.
  if (tenant == decision::kUncounted && state.put_back(busy)) return;
  state.locked([&](Verdicts& decided) {
    ++state.slow_paths;
    ++state.completed;
    state.busy += busy;
    state.count_busy(1, busy);
    state.admission.release(busy, at, decided, tenant);
    state.open_shard();
  });
}

const std::string& Pool::name() const { return state_->name; }

int Pool::limit() const {
  std::lock_guard guard(state_->lock);
  return state_->limit_in_force();
}

int Pool::in_flight() const {
  std::lock_guard guard(state_->lock);
  return state_->in_flight();
}

int Pool::queue_length() const {
  std::lock_guard guard(state_->lock);
  return state_->admission.queue_length();
}

void Pool::set_limit(int limit) {
  if (limit < 1)
    throw std::invalid_argument("pool " + state_->name + ": limit " + std::to_string(limit) + " is below 1");
  state_->locked([&](Verdicts& decided) {
    state_->imposed = limit;
    state_->update_limit(fiber::recent_now(), decided);
  });
}

Pool::Permit::Permit(Permit&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), since_(other.since_), tenant_(other.tenant_) {}

Pool::Permit& Pool::Permit::operator=(Permit&& other) noexcept {
  if (this != &other) {
    Permit ended(std::move(*this));
    pool_ = std::exchange(other.pool_, nullptr);
    since_ = other.since_;
    tenant_ = other.tenant_;
  }
  return *this;
}

Pool::Permit::~Permit() {
  if (pool_ != nullptr) pool_->release(since_, tenant_);
}

std::unique_ptr<Pool> PoolAccess::make(const decision::PoolPolicy& policy, MetricsRegistry& metrics) {
  return std::unique_ptr<Pool>(new Pool(std::make_unique<Pool::State>(policy, metrics)));
}

void PoolAccess::apply(Pool& pool, const decision::PoolPolicy& policy, bool shadow) {
  Pool::State& state = *pool.state_;
  state.locked([&](Verdicts& decided) {
    const bool new_queue = policy.queue != state.policy.queue;
    state.policy = policy;
    state.shadow = shadow;
    if (new_queue) state.admission.set_queue(policy.queue, fiber::recent_now(), decided);
    state.update_limit(fiber::recent_now(), decided);
  });
}

void PoolAccess::set_shares(Pool& pool, const std::vector<double>& weights) {
  std::lock_guard guard(pool.state_->lock);
  pool.state_->admission.set_shares(weights);
}

std::vector<PoolAccess::Share> PoolAccess::shares(const Pool& pool) {
  std::vector<Share> shares;
  std::lock_guard guard(pool.state_->lock);
  const decision::Admission& admission = pool.state_->admission;
  for (std::size_t i = 0; i < admission.shares().tenants(); ++i) {
    const auto tenant = static_cast<decision::Tenant>(i);
    shares.push_back({admission.queue_length(tenant), admission.shares().held(tenant)});
  }
  return shares;
}

void PoolAccess::tick(Pool& pool, Instant at, std::int64_t bytes_per_request, double memory_share) {
  Pool::State& state = *pool.state_;
  state.locked([&](Verdicts& decided) {
    state.bytes_per_request = bytes_per_request;
    state.memory_share = memory_share;
    state.sweep(false, at, decided);
    state.update_limit(at, decided);
    state.admission.expire(at, decided);
  });
}

void PoolAccess::release_limit(Pool& pool) {
  Pool::State& state = *pool.state_;
  state.locked([&](Verdicts& decided) {
    state.imposed.reset();
    state.update_limit(fiber::recent_now(), decided);
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
  telemetry::read_together(state.shards.get(), [&](const Pool::Shard& shard) {
    stats.in_flight -= shard.credit;
    stats.admitted += shard.admitted;
    stats.completed += shard.completed;
    stats.busy += shard.busy;
  });
  return stats;
}

std::uint64_t PoolAccess::slow_paths(const Pool& pool) {
  std::lock_guard guard(pool.state_->lock);
  return pool.state_->slow_paths;
}

}  // namespace penstock
