#include "controller/simulate/rivals/userver_rps.h"

#include <algorithm>
#include <cmath>

namespace penstock::simulate {

bool UserverRps::admit(const Arrival& arrival) {
  ++arrived_;
  ++tasks_;
  if (!limit_) return let_in(true);
  refill(arrival.now);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return let_in(true);
}

void UserverRps::ended(const Ended&) {
  ++tasks_;
  let_out();
}

void UserverRps::refill(Instant now) {
  tokens_ = std::min(*limit_, tokens_ + *limit_ * decision::seconds(now - refilled_));
  refilled_ = now;
}

void UserverRps::tick(Instant now, const Load& load) {
  const double delay = decision::seconds(load.run_delay);
  if (delay > 0) overloads_ += tasks_ * std::exp(-decision::seconds(options_.sensor_limit) / delay);
  tasks_ = 0;
  if (++ticks_ < 10) return;

  const bool limited = limit_.has_value();
  feed({.rate = static_cast<double>(arrived_), .overloads = overloads_});
  if (limit_) {
    if (!limited) {
      tokens_ = *limit_;
      refilled_ = now;
    }
    refill(now);
  }
  ticks_ = 0;
  arrived_ = 0;
  overloads_ = 0;
}

double UserverRps::next_limit(const Sensed& sensed) const {
  if (!limit_) return std::max<double>(options_.min_limit, std::round(sensed.rate * options_.start_limit_factor));
  const double current = std::max(1.0, *limit_);
  if (overloaded_) {
    const double down = std::floor(current * (100 - options_.down_percent) / 100);
    return std::max(options_.min_limit, std::min(down, current - 1));
  }
  const double up = std::round(current * (100 + options_.up_percent) / 100);
  return std::max(std::min(up, current + max_up_), current + 1);
}

void UserverRps::feed(const Sensed& sensed) {
  const bool now = sensed.overloads > (overloaded_ ? options_.down_level : options_.up_level);
  if (now) {
    ++with_overload_;
    without_overload_ = 0;
    max_up_ = 1;
  } else {
    with_overload_ = 0;
    ++without_overload_;
    // controller.cpp, Feed: where the doubling ends.
    if (max_up_ < 10000) max_up_ *= 2;
  }

  if (overloaded_) {
    if (now) {
      limit_ = next_limit(sensed);
    } else if (without_overload_ > options_.overload_off_seconds) {
      overloaded_ = false;
    }
  } else if (!now) {
    if (limit_) limit_ = next_limit(sensed);
  } else if (with_overload_ > options_.overload_on_seconds) {
    overloaded_ = true;
  }
  if (!overloaded_ && without_overload_ > options_.no_limit_seconds) limit_.reset();
}

}  // namespace penstock::simulate
