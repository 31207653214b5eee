#include "controller/simulate/rivals/userver_linear.h"

#include <algorithm>

namespace penstock::simulate {

void UserverLinear::ended(const Ended& ended) {
  let_out();
  if (ended.fate == Fate::cancelled) return;
  ++total_;
  timeouts_ += ended.fate == Fate::timeout ? 1 : 0;
  sum_ += ended.now - ended.started;
}

void UserverLinear::tick(Instant, const Load&) {
  if (++ticks_ < 10) return;
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(sum_).count();
  feed({.total = total_,
        .timeouts = timeouts_,
        .mean_millis = total_ > 0 ? millis / total_ : 0,
        .in_flight = in_flight()});
  ticks_ = 0;
  total_ = timeouts_ = 0;
  sum_ = {};
}

void UserverLinear::feed(const Sensed& sensed) {
  const double timeouts =
      static_cast<double>(sensed.timeouts) / static_cast<double>(std::max<std::int64_t>(1, sensed.total));
  bool overloaded = 100 * timeouts > options_.errors_percent;
  short_.add(sensed.mean_millis);
  load_.add(sensed.in_flight);
  if (sensed.total < options_.min_rate && !limit_) return;
  if (epochs_ < kLongEpochs) {
    ++epochs_;
    long_.add(sensed.mean_millis);
    return;
  }

  const std::int64_t usual = std::max(long_.mean(), options_.min_millis);
  if (short_.mean() > options_.burst * usual) {
    overloaded = true;
  } else {
    long_.add(sensed.mean_millis);
  }

  if (overloaded) {
    limit_ = limit_ ? static_cast<std::int64_t>(static_cast<double>(*limit_) * kDown) : load_.mean();
  } else if (limit_) {
    if (*limit_ > load_.mean() + options_.safe_delta) {
      limit_.reset();
    } else {
      ++*limit_;
    }
  }
  if (limit_) limit_ = std::max(*limit_, options_.min_limit);
}

std::optional<double> UserverLinear::limit() const {
  return limit_ ? std::optional<double>(static_cast<double>(*limit_)) : std::nullopt;
}

}  // namespace penstock::simulate
