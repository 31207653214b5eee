#include "controller/simulate/rivals/pid_shedder.h"

#include <algorithm>
#include <numeric>

namespace penstock::simulate {

PidShedder::PidShedder(const Options& options)
    : options_(options),
      threshold_(decision::kPriorities * options.cohorts),
      count_(static_cast<std::size_t>(decision::kPriorities * options.cohorts)) {}

bool PidShedder::refuses(const Arrival& arrival, const Queue&) {
  const int cohort = static_cast<int>(arrival.chance * options_.cohorts);
  const int value = static_cast<int>(arrival.priority) * options_.cohorts + cohort;
  if (history_.size() < options_.history) {
    history_.push_back(value);
  } else {
    --count_[static_cast<std::size_t>(history_[next_history_])];
    history_[next_history_] = value;
    next_history_ = (next_history_ + 1) % options_.history;
  }
  ++count_[static_cast<std::size_t>(value)];
  return value > threshold_;
}

void PidShedder::find_threshold() {
  const auto keep = (1 - share_) * static_cast<double>(history_.size());
  int kept = 0;
  threshold_ = -1;
  for (const int count : count_) {
    if (share_ > 0 && kept + count > keep) return;
    kept += count;
    ++threshold_;
  }
}

void PidShedder::tick(Instant now, const Queue& queue) {
  if (now < period_ends_) return;
  judge(queue);
  if (queue.waiting == 0 || now - queue.last_empty < options_.period) {
    errors_.clear();
    next_error_ = 0;
    share_ = 0;
  }
  find_threshold();
  in_ = out_ = 0;
  period_ends_ = now + options_.period;
}

void PidShedder::judge(const Queue& queue) {
  const double free = std::max(0.0, queue.limit - queue.in_flight);
  const double error = (in_ - (out_ + free)) / std::max(1, out_);
  if (errors_.size() < options_.errors) {
    errors_.push_back(error);
  } else {
    errors_[next_error_] = error;
    next_error_ = (next_error_ + 1) % options_.errors;
  }
  const double sum = std::accumulate(errors_.begin(), errors_.end(), 0.0);
  share_ = std::clamp(options_.kp * error + options_.ki * sum, 0.0, 1.0);
}

}  // namespace penstock::simulate
