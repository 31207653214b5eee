#include "penstock/decision/upstream_guard.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "penstock/decision/prefetch.h"

namespace penstock::decision {
namespace {

constexpr int kUnbounded = std::numeric_limits<int>::max();
// Longest queue that a policy may ask for.
constexpr int kMaxQueue = 1'000'000;
// Longest wait under a limit that is tight on purpose, as a share of the patience: longer, and what is left does not
// suffice for the call; shorter, and who is refused comes again, where the end of the shortage would have served.
constexpr double kTightWait = 0.8;

// Of calls that begin now so large a share has to be answered, as a retry that succeeds pays for 1 / share more; and a
// call that is overtaken has waited for so many times what those take, and so many usual latencies: of calls whose
// latency is exponential 1 in 3000 does.
constexpr double kAnswered = 1 / RetryBudget::kEarned;
constexpr int kTimesAnswered = 4;
constexpr int kTimesUsual = 8;

BreakerPolicy breaker_policy(const UpstreamPolicy& policy, bool guarded) {
  if (guarded) return policy.breaker;
  BreakerPolicy never;
  never.usefulness = false;
  return never;
}

CallOutcome to_breaker(GuardedOutcome outcome) {
  switch (outcome) {
    case GuardedOutcome::ok:
      return CallOutcome::ok;
    case GuardedOutcome::timeout:
      return CallOutcome::timeout;
    case GuardedOutcome::cancelled:
      return CallOutcome::cancelled;
    case GuardedOutcome::error:
    case GuardedOutcome::refused:
      return CallOutcome::error;
  }
  return CallOutcome::error;
}

}  // namespace

UpstreamGuard::UpstreamGuard(const UpstreamPolicy& policy, bool guarded, bool shadow, std::uint64_t seed)
    : breaker_(breaker_policy(policy, guarded), policy.timeout, seed),
      guarded_(guarded),
      shadow_(shadow),
      bulkhead_(kUnbounded),
      policy_(policy),
      queue_(queue_policy(shadow ? kUnbounded : limit_in_force())),
      admission_(queue_, shadow ? kUnbounded : limit_in_force()),
      retries_(policy.retry_budget) {}

void UpstreamGuard::prefetch() const {
  decision::prefetch(this, &policy_.retry_budget);
  test_.prefetch();
  decision::prefetch(&queue_, &bucket_);
  bucket_.prefetch();
  signals_.prefetch();
}

void UpstreamGuard::prefetch_told(Instant now) const {
  breaker_.prefetch_told();
  admission_.prefetch_told();
  bucket_.prefetch_slot(now);
  retries_.prefetch();
}

void UpstreamGuard::prefetch_parts() const {
  breaker_.prefetch();
  admission_.prefetch();
  signals_.prefetch_samples();
}

int UpstreamGuard::limit_in_force() const {
  if (!guarded_) return kUnbounded;
  if (policy_.limit.mode == LimitMode::fixed) return policy_.limit.max;
  const int own = std::max(test_.holds().limit.value_or(kUnbounded), policy_.limit.min);
  // A fleet that leads knows how many nodes there are.
  const int fleet = std::max(directive_.value_or(kUnbounded), fleet_leads_ ? 1 : policy_.limit.min);
  return std::min({policy_.limit.max, bulkhead_, own, fleet});
}

std::string_view UpstreamGuard::bound_by() const {
  if (!guarded_) return "none";
  const int limit = limit_in_force();
  if (policy_.limit.mode == LimitMode::fixed || limit == policy_.limit.max) return "max";
  if (limit == bulkhead_) return "bulkhead";
  if (directive_ && limit == *directive_) return "directive";
  if (test_.holds().limit && limit == *test_.holds().limit) return "cause";
  return "min";
}

bool UpstreamGuard::tight() const { return directive_tight_ || test_.holds().tight(); }

// More calls than usual do it no harm that could be seen.
bool UpstreamGuard::well() const {
  return breaker_.state() == BreakerState::closed && !bucket_.active() && !signals_.in_trouble() && !directive_ &&
         test_.holds().state == CauseState::free;
}

QueuePolicy UpstreamGuard::queue_policy(int limit) const {
  QueuePolicy queue;
  queue.discipline = tight() ? QueueDiscipline::newest_first : QueueDiscipline::fifo;
  // What is in it above a limit that fell holds memory all the same.
  queue.max = std::clamp(bulkhead_ - std::max(limit, counts_.in_flight), 0, kMaxQueue);
  queue.max_wait = policy_.timeout;
  if (tight()) {
    // In steps, so that the queue is not set anew with every call's patience.
    const auto wait = from_seconds(kTightWait * seconds(breaker_.patience()));
    constexpr Duration kStep = std::chrono::milliseconds(500);
    queue.max_wait = std::min(queue.max_wait, std::max<Duration>(kStep, wait / kStep * kStep));
  }
  queue.target = std::min(queue.target, queue.max_wait);
  return queue;
}

void UpstreamGuard::update_limit(Instant now, Verdicts& decided) {
  const int limit = shadow_ ? kUnbounded : limit_in_force();
  const QueuePolicy wanted = queue_policy(limit);
  if (wanted != queue_) {
    queue_ = wanted;
    admission_.set_queue(queue_, now, decided);
  }
  if (limit != admission_.limit()) admission_.set_limit(limit, now, decided);
}

void UpstreamGuard::begun(Call& call, Instant now) {
  call.started = now;
  ++counts_.in_flight;
  starts_ += micros(now);
}

UpstreamGuard::Answer UpstreamGuard::offer(Call& call, Instant deadline, Instant now, Verdicts& decided) {
  ++counts_.attempts;
  retries_.call(now);
  call.tracked = call.placed = false;
  call.deadline = std::min(deadline, now + timeout_in_force());
  if (deadline <= now) return {Offer::refused, RejectReason::deadline};
  if (breaker_.state() != BreakerState::closed) {
    const Duration patience = std::min(call.deadline - now, policy_.timeout);
    call.tracked = breaker_.begin(call.call, patience, now);
    // A probe. The places may be held by calls that hang: it goes past them.
    if (call.tracked) {
      begun(call, now);
      return {Offer::go};
    }
    if (!shadow_) return {Offer::refused, RejectReason::breaker, breaker_.retry_after(now)};
  }
  const Admission::Answer answer = admission_.offer(call, now, decided);
  if (answer.offer == Admission::Offer::rejected) return {Offer::refused, answer.reason, answer.retry_after};
  // The breaker is asked when it gets its place: it judges calls from their real start.
  if (answer.offer == Admission::Offer::queued) return {Offer::wait};
  return begin(call, now, decided);
}

UpstreamGuard::Answer UpstreamGuard::start(Call& call, Instant now, Verdicts& decided) {
  return begin(call, now, decided);
}

// Of a call that has a place.
UpstreamGuard::Answer UpstreamGuard::begin(Call& call, Instant now, Verdicts& decided) {
  const auto refuse = [&](RejectReason reason, Duration retry_after) {
    admission_.give_back(1, now, decided, call.tenant);
    settle(decided);
    return Answer{Offer::refused, reason, retry_after};
  };
  if (bucket_.active() && !bucket_.take(now) && !shadow_) return refuse(RejectReason::limit, bucket_.wait(now));
  const Duration patience = std::clamp<Duration>(call.deadline - now, Duration::zero(), policy_.timeout);
  call.tracked = breaker_.begin(call.call, patience, now);
  if (!call.tracked && !shadow_) return refuse(RejectReason::breaker, breaker_.retry_after(now));
  call.placed = true;
  begun(call, now);
  return {Offer::go};
}

void UpstreamGuard::end(Call& call, GuardedOutcome outcome, std::optional<Duration> retry_after, Instant now,
                        Verdicts& decided) {
  const Duration took = now - call.started;
  --counts_.in_flight;
  starts_ -= micros(call.started);
  switch (outcome) {
    case GuardedOutcome::ok:
      ++counts_.ok;
      counts_.latency += took;
      bucket_.accepted(now);
      break;
    case GuardedOutcome::refused:
      ++counts_.failed;
      ++counts_.refused;
      if (guarded_) bucket_.refused(now, retry_after);
      break;
    case GuardedOutcome::error:
    case GuardedOutcome::timeout:
      ++counts_.failed;
      bucket_.accepted(now);
      break;
    case GuardedOutcome::cancelled:
      break;
  }
  if (call.tracked) breaker_.end(call.call, to_breaker(outcome), now);
  if (call.placed) admission_.release(took, now, decided, call.tenant);
  settle(decided);
}

bool UpstreamGuard::withdraw(Call& call) { return admission_.withdraw(call); }

void UpstreamGuard::give_back(Call& call, Instant now, Verdicts& decided) {
  admission_.give_back(1, now, decided, call.tenant);
  settle(decided);
}

void UpstreamGuard::settle(Verdicts& decided) {
  // What waits for a place would only be refused when it got one.
  if (!shadow_ && breaker_.state() == BreakerState::open) admission_.refuse_all(RejectReason::breaker, decided);
}

UpstreamCounts UpstreamGuard::counts(Instant now) const {
  UpstreamCounts counts = counts_;
  counts.waiting = admission_.queue_length();
  if (counts.in_flight > 0) {
    counts.mean_age = std::chrono::microseconds(micros(now) - starts_ / counts.in_flight);
  }
  return counts;
}

std::int64_t UpstreamGuard::pending(Instant now) const {
  const UpstreamSignals::Span second = signals_.since(now - std::chrono::seconds(1));
  return std::clamp<std::int64_t>(second.attempts - second.ok - second.failed, 0, counts_.in_flight);
}

void UpstreamGuard::tick(const Tick& tick, Verdicts& decided) {
  breaker_.tick(tick.now, tick.memory_pressure);
  signals_.tick(counts(tick.now), test_.unusual() || directive_, tick.now);
  bucket_.tick(tick.now, bucket_.asks_pending(tick.now) ? pending(tick.now) : 0);
  admission_.expire(tick.now, decided);
  if (guarded_) {
    bulkhead_ = tick.bulkhead;
    CauseContext context;
    context.wall = tick.wall;
    context.may_test = tick.may_test;
    context.patience = breaker_.patience();
    context.memory_pressure = tick.memory_pressure;
    context.run_delay = tick.run_delay;
    context.breaker = breaker_.state();
    context.dead = breaker_.dead();
    context.refusing = bucket_.active();
    context.min = policy_.limit.min;
    context.max = std::min({policy_.limit.max, bulkhead_, directive_.value_or(kUnbounded)});
    const bool may_cut = !shadow_ && policy_.limit.mode == LimitMode::adaptive;
    context.knee_test = may_cut ? policy_.limit.knee_test : std::min(policy_.limit.knee_test, KneeTest::observe);
    if (fleet_leads_) context.knee_test = KneeTest::off;
    context.inherited = std::exchange(inherited_, std::nullopt);
    test_.tick(signals_, context, tick.now);
    update_limit(tick.now, decided);
  }
  look_for_overtaken();
  settle(decided);
}

void UpstreamGuard::look_for_overtaken() {
  overtaken_from_ = Duration::max();
  const bool held = directive_ || bucket_.active() || test_.holds().limit || admission_.queue_length() > 0;
  if (!policy_.hedge || !guarded_ || shadow_ || held || breaker_.state() != BreakerState::closed) return;
  if (counts_.in_flight == 0) return;
  const Duration answered = breaker_.answered_within(kAnswered);
  if (answered == Duration::max()) return;
  overtaken_from_ = std::max({kFirstHedge, kTimesAnswered * answered, kTimesUsual * signals_.usual_latency()});
}

bool UpstreamGuard::idle(Instant now) const {
  const CauseTest::Hold& hold = test_.holds();
  return counts_.in_flight == 0 && steady(now) && breaker_.idle(now) && !signals_.in_trouble() && !inherited_ &&
         hold.state == CauseState::free && hold.verdict == Cause::none && !hold.limit;
}

void UpstreamGuard::set_policy(const UpstreamPolicy& policy, bool shadow, Instant now, Verdicts& decided) {
  if (policy.breaker != policy_.breaker || policy.timeout != policy_.timeout) {
    breaker_.set_policy(breaker_policy(policy, guarded_), policy.timeout, now);
  }
  if (policy.retry_budget != policy_.retry_budget) retries_.set_ratio(policy.retry_budget);
  policy_ = policy;
  shadow_ = shadow;
  update_limit(now, decided);
  settle(decided);
}

void UpstreamGuard::set_directive(std::optional<int> limit, Instant now, Verdicts& decided, bool tight, bool leads) {
  // Who ends to lead leaves its verdict behind; who leads and lifts the limit does not need it any more.
  if (!leads && fleet_leads_ && directive_tight_) inherited_ = directive_;
  if (leads) inherited_.reset();
  directive_ = limit;
  directive_tight_ = limit && tight;
  fleet_leads_ = leads;
  update_limit(now, decided);
}

void UpstreamGuard::force(BreakerForce force, std::string reason, Instant now, Verdicts& decided) {
  breaker_.force(force, std::move(reason), now);
  settle(decided);
}

void UpstreamGuard::trip(std::string reason, Instant now, Verdicts& decided) {
  breaker_.trip(std::move(reason), now);
  settle(decided);
}

void UpstreamGuard::release_lease(Instant now, Verdicts& decided) {
  if (directive_tight_ && fleet_leads_) inherited_ = directive_;
  directive_.reset();
  directive_tight_ = fleet_leads_ = false;
  signals_.expect(Duration::zero());
  if (breaker_.forced() != BreakerForce::automatic) breaker_.force(BreakerForce::automatic, "the lease ended", now);
  update_limit(now, decided);
  settle(decided);
}

bool UpstreamGuard::steady(Instant now) const {
  return admission_.queue_length() == 0 && breaker_.steady(now) && !bucket_.active();
}

void UpstreamGuard::give_back_places(int places, Instant now, Verdicts& decided) {
  admission_.give_back(places, now, decided);
}

void UpstreamGuard::collect(CallLane& lane, const Ended& ended, Instant now) {
  const CircuitBreaker::Collected told = breaker_.collect(lane, now);
  admission_.tell(ended, now);
  counts_.attempts += told.begun;
  counts_.ok += told.succeeded;
  counts_.latency += told.latency;
  counts_.in_flight += static_cast<int>(told.begun - told.succeeded);
  starts_ += told.starts;
  if (told.begun != 0) retries_.call(now, told.begun);
  if (told.succeeded != 0) bucket_.accepted(now, told.succeeded);
}

}  // namespace penstock::decision
