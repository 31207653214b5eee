#pragma once

#include <algorithm>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "penstock/decision/circuit_breaker.h"
#include "tests/unit/decision/seeded_random.h"

namespace penstock::decision {

// One upstream under open-loop load behind a breaker, in invented time that starts at 0 s.
class BreakerSimulation {
 public:
  static constexpr double kNever = 1e9;

  struct Answer {
    double latency = 0;
    CallOutcome outcome = CallOutcome::ok;
  };
  // What happens to a call that begins at this second.
  using Behaviour = std::function<Answer(double, SeededRandom&)>;

  struct Load {
    double rate = 75;
    double timeout = 10;
    double patience_from = 8;
    double patience_to = 10;
    std::uint64_t seed = 1;
    BreakerPolicy policy;
  };

  explicit BreakerSimulation(const Load& load)
      : load_(load), random_(load.seed), breaker_(load.policy, from_seconds(load.timeout), load.seed) {
    behaviour_ = well();
    next_arrival_ = random_.exponential(1 / load_.rate);
  }

  static Behaviour log_normal(double median, double sigma) {
    return [=](double, SeededRandom& random) { return Answer{random.log_normal(median, sigma)}; };
  }
  static Behaviour well() { return log_normal(0.05, 0.4); }
  static Behaviour errors(double ratio) {
    return [=](double, SeededRandom& random) {
      return random.chance(ratio) ? Answer{0.001, CallOutcome::error} : Answer{random.log_normal(0.05, 0.4)};
    };
  }
  static Behaviour hanging(double ratio) {
    return [=](double, SeededRandom& random) {
      return random.chance(ratio) ? Answer{kNever} : Answer{random.log_normal(0.05, 0.4)};
    };
  }

  void become(Behaviour behaviour) { behaviour_ = std::move(behaviour); }
  // From now on nothing is answered, also not what is in flight.
  void become_black_hole() {
    behaviour_ = hanging(1);
    std::multimap<double, Pending> pending = std::move(pending_);
    pending_.clear();
    for (auto& [at, p] : pending) {
      pending_.emplace(
          p.call->started.time_since_epoch() / std::chrono::duration<double>(1) + seconds(p.call->patience),
          Pending{p.call, CallOutcome::timeout});
    }
  }
  void set_pressure(double pressure) { pressure_ = pressure; }
  void set_rate(double rate) {
    load_.rate = rate;
    next_arrival_ = rate > 0 ? now_ + random_.exponential(1 / rate) : kNever;
  }

  void run_until(double end) {
    while (true) {
      const double ending = pending_.empty() ? kNever : pending_.begin()->first;
      const double next = std::min({next_arrival_, ending, next_tick_});
      if (next > end) break;
      now_ = next;
      if (next == ending) {
        end_first();
      } else if (next == next_arrival_) {
        next_arrival_ = now_ + random_.exponential(1 / load_.rate);
        arrive();
      } else {
        next_tick_ += 0.1;
        breaker_.tick(instant(), pressure_);
      }
      while (auto transition = breaker_.take_transition()) transitions.push_back(*transition);
    }
    now_ = end;
  }
  void run_for(double span) { run_until(now_ + span); }

  Instant instant() const { return Instant{} + from_seconds(now_); }
  double now() const { return now_; }
  CircuitBreaker& breaker() { return breaker_; }

  // When it first opened after `from`; unset: never.
  std::optional<double> opened_after(double from) const {
    for (const auto& t : transitions) {
      const double at = seconds(t.at.time_since_epoch());
      if (t.to == BreakerState::open && at >= from) return at;
    }
    return std::nullopt;
  }
  std::string story() const {
    std::string text;
    for (const auto& t : transitions) {
      text += std::to_string(seconds(t.at.time_since_epoch())) + " " + std::string(to_string(t.from)) + " -> " +
              std::string(to_string(t.to)) + " (" + t.reason + ") " + t.message + "\n";
    }
    return text;
  }

  std::vector<CircuitBreaker::Transition> transitions;
  std::int64_t let_through = 0;
  std::int64_t refused = 0;
  std::int64_t answered = 0;
  // When the last call was refused.
  double last_refused = 0;

 private:
  struct Pending {
    std::list<CircuitBreaker::Call>::iterator call;
    CallOutcome outcome;
  };

  void arrive() {
    calls_.emplace_front();
    const auto call = calls_.begin();
    const double patience = std::min(load_.timeout, random_.uniform(load_.patience_from, load_.patience_to));
    if (!breaker_.begin(*call, from_seconds(patience), instant())) {
      ++refused;
      last_refused = now_;
      calls_.erase(call);
      return;
    }
    ++let_through;
    Answer answer = behaviour_(now_, random_);
    if (answer.latency >= patience) answer = {patience, CallOutcome::timeout};
    pending_.emplace(now_ + answer.latency, Pending{call, answer.outcome});
  }

  void end_first() {
    const Pending pending = pending_.begin()->second;
    pending_.erase(pending_.begin());
    if (pending.outcome == CallOutcome::ok) ++answered;
    breaker_.end(*pending.call, pending.outcome, instant());
    calls_.erase(pending.call);
  }

  Load load_;
  SeededRandom random_;
  CircuitBreaker breaker_;
  Behaviour behaviour_;
  double now_ = 0;
  double next_arrival_ = 0;
  double next_tick_ = 0.1;
  double pressure_ = 0;
  std::list<CircuitBreaker::Call> calls_;
  std::multimap<double, Pending> pending_;
};

}  // namespace penstock::decision
