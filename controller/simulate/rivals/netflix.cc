#include "controller/simulate/rivals/netflix.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace penstock::simulate {

void NetflixLimiter::ended(const Ended& ended) {
  let_out();
  if (ended.fate == Fate::error || ended.fate == Fate::cancelled) return;
  limit_ = update({.end = ended.now,
                   .rtt = ended.now - ended.started,
                   .in_flight = ended.in_flight_at_start + 1,
                   .dropped = ended.fate != Fate::ok});
}

std::optional<NetflixWindow::Sample> NetflixWindow::add(const Sample& sample) {
  if (sample.rtt < kIgnoredBelow) return std::nullopt;
  ++count_;
  sum_ += sample.rtt;
  least_ = std::min(least_, sample.rtt);
  most_in_flight_ = std::max(most_in_flight_, sample.in_flight);
  dropped_ = dropped_ || sample.dropped;
  if (sample.end <= closes_) return std::nullopt;

  closes_ = sample.end + std::clamp(2 * least_, kShortest, kLongest);
  const Sample whole{.end = sample.end, .rtt = sum_ / count_, .in_flight = most_in_flight_, .dropped = dropped_};
  const bool enough = count_ >= kFewest;
  count_ = 0;
  sum_ = {};
  least_ = Duration::max();
  most_in_flight_ = 0;
  dropped_ = false;
  return enough ? std::optional(whole) : std::nullopt;
}

int netflix_log10(int limit) {
  int digits = 0;
  for (int rest = limit; rest >= 10; rest /= 10) ++digits;
  return std::max(1, digits);
}

}  // namespace penstock::simulate
