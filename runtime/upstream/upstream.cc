#include "penstock/upstream.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <stdexcept>

#include "runtime/fiber/fiber_state.h"
#include "runtime/upstream/upstream_state.h"

namespace penstock {

using decision::Admission;
using decision::BreakerState;
using decision::CircuitBreaker;

namespace {

Instant now() { return std::chrono::steady_clock::now(); }

// Waits of the calling fiber count as waits for an upstream while this lives.
class Attribution {
 public:
  explicit Attribution(const std::string& upstream) : upstream_(&upstream) {
    if (fiber::on_fiber()) {
      fiber_ = &fiber::current();
      previous_ = std::exchange(fiber_->upstream, upstream_);
    }
  }
  ~Attribution() {
    // A call may be finished by another fiber than began it, or after the next one began: then there is nothing to
    // restore.
    if (fiber_ != nullptr && fiber::on_fiber() && &fiber::current() == fiber_ && fiber_->upstream == upstream_) {
      fiber_->upstream = previous_;
    }
  }
  Attribution(const Attribution&) = delete;

 private:
  const std::string* upstream_;
  const std::string* previous_ = nullptr;
  fiber::FiberState* fiber_ = nullptr;
};

}  // namespace

struct Upstream::Call::State {
  explicit State(const Upstream& of) : upstream(&of), attribution(of.state_->name) {}

  const Upstream* upstream;
  Attribution attribution;
  CircuitBreaker::Call call;
  bool tracked = false;
  // Holds a place under the limit; probes do not.
  bool placed = false;
  Instant started{};
  Instant deadline{};
  int exceptions = std::uncaught_exceptions();
};

Upstream::Upstream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Upstream::~Upstream() = default;

Upstream::Call Upstream::begin() {
  fiber::require_fiber("Upstream::begin()");
  State& state = *state_;
  auto made = std::make_unique<Call::State>(*this);
  Call::State& call = *made;
  const Instant arrived = now();
  const Instant request_deadline = current_deadline();

  const auto refuse = [&](RejectReason reason, Duration retry_after) {
    state.outcomes[kRejectedOutcome]->add();
    throw Rejected(reason, retry_after, "upstream " + state.name + ": " + std::string(decision::to_string(reason)));
  };

  Waiting waiting({.what = "a place in upstream", .name = &state_->name});
  enum class Next { go, wait, refused } next = Next::go;
  RejectReason reason{};
  Duration retry_after{};
  // Under the lock.
  const auto refused = [&](RejectReason why, Duration after) {
    ++state.counts[kRejectedOutcome];
    reason = why;
    retry_after = after;
    next = Next::refused;
  };
  const auto started = [&](Instant at) {
    call.started = at;
    ++state.in_flight;
    next = Next::go;
  };

  state.locked(*this, [&](State::Effects& effects) {
    ++state.attempts;
    state.retries.call(arrived);
    call.deadline = std::min(request_deadline, arrived + state.timeout_in_force());
    waiting.deadline = call.deadline;
    if (request_deadline <= arrived) return refused(RejectReason::deadline, Duration::zero());
    const Duration patience = std::min(call.deadline - arrived, Duration(state.policy.timeout));
    if (state.breaker.state() != BreakerState::closed) {
      if (!state.pass_breaker(call.call, call.tracked, patience, arrived)) {
        return refused(RejectReason::breaker, state.breaker.retry_after(arrived));
      }
      // A probe. The places may be held by calls that hang: it goes past them.
      if (call.tracked) return started(arrived);
    }
    const Admission::Answer answer = state.admission.offer(waiting, arrived, effects.decided);
    if (answer.offer == Admission::Offer::admitted) {
      call.placed = true;
      if (!state.pass_breaker(call.call, call.tracked, patience, arrived)) {
        state.admission.release(Duration::zero(), arrived, effects.decided);
        return refused(RejectReason::breaker, state.breaker.retry_after(arrived));
      }
      return started(arrived);
    }
    if (answer.offer == Admission::Offer::rejected) return refused(answer.reason, answer.retry_after);
    // The breaker is asked when it gets its place: it judges calls from their real start.
    state.queued.insert(&waiting);
    next = Next::wait;
  });
  if (next == Next::refused) refuse(reason, retry_after);
  if (next == Next::go) return Call(std::move(made));

  const fiber::Wake wake = waiting.waiter.wait(call.deadline);
  bool withdrawn = false;
  if (wake != fiber::Wake::notified) {
    std::lock_guard guard(state.lock);
    withdrawn = state.admission.withdraw(waiting);
    if (withdrawn) state.queued.erase(&waiting);
  }
  std::optional<RejectReason> verdict;
  if (!withdrawn) verdict = waiting.verdict();
  const Instant woken = now();
  const bool admitted = !withdrawn && !verdict;
  if (withdrawn) verdict = woken >= request_deadline ? RejectReason::deadline : RejectReason::queue_timeout;

  state.locked(*this, [&](State::Effects& effects) {
    if (wake == fiber::Wake::cancelled) {
      ++state.counts[static_cast<std::size_t>(CallOutcome::cancelled)];
      if (admitted) state.admission.release(Duration::zero(), woken, effects.decided);
      return;
    }
    if (!admitted) return refused(*verdict, state.breaker.retry_after(woken));
    call.placed = true;
    const Duration patience = std::max(call.deadline - woken, Duration::zero());
    if (!state.pass_breaker(call.call, call.tracked, patience, woken)) {
      state.admission.release(Duration::zero(), woken, effects.decided);
      return refused(RejectReason::breaker, state.breaker.retry_after(woken));
    }
    started(woken);
  });
  if (wake == fiber::Wake::cancelled) {
    state.outcomes[static_cast<std::size_t>(CallOutcome::cancelled)]->add();
    fiber::throw_if_interrupted(wake, "a call to an upstream");
    throw Cancelled("cancelled while waiting for upstream " + state.name);
  }
  if (next == Next::refused) refuse(reason, retry_after);
  return Call(std::move(made));
}

bool Upstream::try_retry() {
  std::lock_guard guard(state_->lock);
  return state_->retries.try_retry(now());
}

const std::string& Upstream::name() const { return state_->name; }

int Upstream::limit() const {
  std::lock_guard guard(state_->lock);
  return state_->limit_in_force();
}

int Upstream::in_flight() const {
  std::lock_guard guard(state_->lock);
  return state_->in_flight;
}

BreakerState Upstream::breaker() const {
  std::lock_guard guard(state_->lock);
  return state_->breaker.state();
}

Upstream::Call::Call(std::unique_ptr<State> state) : state_(std::move(state)) {}
Upstream::Call::Call(Call&&) noexcept = default;

Upstream::Call::~Call() {
  if (!state_) return;
  finish(std::uncaught_exceptions() > state_->exceptions ? CallOutcome::error : CallOutcome::cancelled);
}

void Upstream::Call::finish(CallOutcome outcome) {
  if (!state_) throw std::logic_error("a call to an upstream is finished twice");
  const std::unique_ptr<State> ended = std::move(state_);
  Upstream::State& upstream = *ended->upstream->state_;
  const Instant at = now();
  const Duration took = at - ended->started;
  upstream.locked(*ended->upstream, [&](Upstream::State::Effects& effects) {
    upstream.end(outcome, took);
    if (ended->tracked) upstream.breaker.end(ended->call, outcome, at);
    if (ended->placed) upstream.admission.release(took, at, effects.decided);
  });
  upstream.outcomes[static_cast<std::size_t>(outcome)]->add();
  upstream.duration.observe(took);
}

Instant Upstream::Call::deadline() const { return state_->deadline; }

}  // namespace penstock
