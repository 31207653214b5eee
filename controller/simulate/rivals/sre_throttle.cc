#include "controller/simulate/rivals/sre_throttle.h"

#include <algorithm>

namespace penstock::simulate {

SreThrottle::Bucket& SreThrottle::bucket(Instant now) {
  const std::int64_t second = decision::micros(now) / 1'000'000;
  const auto index = [&](std::int64_t s) { return static_cast<std::size_t>(s % options_.seconds); };
  const std::int64_t passed = std::min<std::int64_t>(second - second_, options_.seconds);
  for (std::int64_t i = 1; i <= passed; ++i) {
    Bucket& old = buckets_[index(second_ + i)];
    sum_.requests -= old.requests;
    sum_.accepts -= old.accepts;
    old = {};
  }
  second_ = std::max(second, second_);
  return buckets_[index(second_)];
}

double SreThrottle::refusal() const {
  const auto requests = static_cast<double>(sum_.requests);
  return std::max(0.0, (requests - options_.k * static_cast<double>(sum_.accepts)) / (requests + 1));
}

bool SreThrottle::admit(const Arrival& arrival) {
  Bucket& now = bucket(arrival.now);
  const bool yes = arrival.chance >= refusal();
  ++now.requests;
  ++sum_.requests;
  return let_in(yes);
}

void SreThrottle::ended(const Ended& ended) {
  let_out();
  if (ended.fate != Fate::ok && ended.fate != Fate::error) return;
  Bucket& now = bucket(ended.now);
  ++now.accepts;
  ++sum_.accepts;
}

}  // namespace penstock::simulate
