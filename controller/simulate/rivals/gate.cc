#include "controller/simulate/rivals/gate.h"

#include <limits>
#include <utility>

namespace penstock::simulate {

using decision::RejectReason;

Gate::Gate(Parts parts) : parts_(std::move(parts)) {
  if (parts_.line) line_.emplace(*parts_.line);
}

bool Gate::let_through(std::uint32_t id, Instant now) {
  State& state = states_[id];
  const Arrival arrival{.now = now, .in_flight = in_flight_, .priority = state.priority, .chance = state.chance};
  if (parts_.limiter && !parts_.limiter->admit(arrival)) return false;
  state.through = now;
  state.besides = in_flight_++;
  if (parts_.shedder) parts_.shedder->went_through();
  return true;
}

Shedder::Queue Gate::queue() const {
  const std::optional<double> limit = parts_.limiter ? parts_.limiter->limit() : std::nullopt;
  return {.waiting = waiting(),
          .in_flight = in_flight_,
          .limit = limit.value_or(std::numeric_limits<double>::max()),
          .last_empty = line_ ? line_->last_empty() : Instant::max()};
}

Gate::Decision Gate::arrive(const Asking& asking, Instant now) {
  if (asking.id >= states_.size()) states_.resize(asking.id + 1);
  states_[asking.id] = {.priority = asking.priority, .chance = asking.chance};
  if (parts_.shedder) {
    const Arrival arrival{.now = now, .in_flight = in_flight_, .priority = asking.priority, .chance = asking.chance};
    if (parts_.shedder->refuses(arrival, queue())) return {Answer::refused, RejectReason::shed};
    parts_.shedder->entered();
  }
  if (waiting() == 0 && let_through(asking.id, now)) return {Answer::through};
  if (!line_ || line_->full()) return {Answer::refused, parts_.reason};
  line_->add(asking.id, asking.priority, now);
  return {Answer::waits};
}

void Gate::ended(std::uint32_t id, Fate fate, Instant now) {
  const State& state = states_[id];
  --in_flight_;
  if (!parts_.limiter) return;
  parts_.limiter->ended({.now = now, .started = state.through, .in_flight_at_start = state.besides, .fate = fate});
}

bool Gate::leave(std::uint32_t id, Instant now) { return line_ && line_->remove(id, now); }

void Gate::tick(const Load& load, Instant now) {
  if (parts_.limiter) parts_.limiter->tick(now, load);
  if (parts_.shedder) parts_.shedder->tick(now, queue());
}

std::optional<Gate::Moved> Gate::next(Instant now) {
  if (!line_) return std::nullopt;
  if (const auto id = line_->expired(now)) return Moved{*id, RejectReason::queue_timeout};
  const auto first = line_->first(now);
  if (!first || !let_through(*first, now)) return std::nullopt;
  line_->remove(*first, now);
  return Moved{*first, std::nullopt};
}

}  // namespace penstock::simulate
