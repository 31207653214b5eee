#include "controller/simulate/rivals/resilience4j.h"

#include <algorithm>

namespace penstock::simulate {

Resilience4j::Options Resilience4j::documented_example() {
  return {.failure_share = 0.5,
          .slow_share = 0.5,
          .slow = std::chrono::seconds(2),
          .open = std::chrono::milliseconds(1000),
          .permitted = 3,
          .min_calls = 10,
          .window = 5,
          .by_time = true};
}

bool Resilience4j::admit(const Arrival& arrival) {
  if (state_ == State::open && arrival.now > opened_ + options_.open) enter(State::half_open, arrival.now);
  switch (state_) {
    case State::closed:
      return let_in(true);
    case State::open:
      return false;
    case State::half_open:
      if (permits_ == 0) return false;
      --permits_;
      return let_in(true);
  }
  return false;
}

void Resilience4j::enter(State state, Instant now) {
  state_ = state;
  outcomes_.clear();
  failed_ = slow_ = 0;
  if (state == State::open) opened_ = now;
  if (state == State::half_open) permits_ = options_.permitted;
}

void Resilience4j::forget_oldest() {
  failed_ -= outcomes_.front().failed ? 1 : 0;
  slow_ -= outcomes_.front().slow ? 1 : 0;
  outcomes_.pop_front();
}

void Resilience4j::record(const Outcome& outcome) {
  outcomes_.push_back(outcome);
  failed_ += outcome.failed ? 1 : 0;
  slow_ += outcome.slow ? 1 : 0;
  if (state_ == State::closed && options_.by_time) {
    while (outcome.at - outcomes_.front().at >= std::chrono::seconds(options_.window)) forget_oldest();
  } else {
    const int size = state_ == State::half_open ? options_.permitted : options_.window;
    if (static_cast<int>(outcomes_.size()) > size) forget_oldest();
  }
}

void Resilience4j::ended(const Ended& ended) {
  let_out();
  if (state_ == State::open) return;
  record({.at = ended.now, .failed = ended.fate != Fate::ok, .slow = ended.now - ended.started > options_.slow});
  judge(ended.now);
}

void Resilience4j::judge(Instant now) {
  // CircuitBreakerMetrics: a window by count cannot ask for more calls than it holds.
  int enough = options_.min_calls;
  if (state_ == State::half_open) {
    enough = std::min(enough, options_.permitted);
  } else if (!options_.by_time) {
    enough = std::min(enough, options_.window);
  }
  const auto calls = static_cast<int>(outcomes_.size());
  if (calls == 0 || calls < enough) return;
  if (failed_ >= options_.failure_share * calls || slow_ >= options_.slow_share * calls) {
    enter(State::open, now);
  } else if (state_ == State::half_open) {
    enter(State::closed, now);
  }
}

}  // namespace penstock::simulate
