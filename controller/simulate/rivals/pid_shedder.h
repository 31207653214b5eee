#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "controller/simulate/rivals/shedder.h"

namespace penstock::simulate {

// The rejector of Uber's Cinnamon. Source: J. Thomsen et al., "PID Controller for Cinnamon", Uber Engineering, 30
// November 2023, and "Cinnamon: Using Century Old Tech to Build a Mean Load Shedder", 22 November 2023.
//
//   error = (in - (out + free)) / out
//   share = Kp * error + Ki * sum of errors, within [0, 1]
//
// `in` of a period came into the queue before the limit, `out` of it left the queue to be served, `free` is what is
// left of the limit. The share is turned into a threshold of priority by the distribution of the last requests'
// priorities, each level cut into cohorts. While the queue runs empty again and again nothing is refused and the sum is
// forgotten. The limit is that of the Auto-Tuner ("Cinnamon Auto-Tuner: Adaptive Concurrency in the Wild", 7 December
// 2023): the 90th percentile filtered by a median and smoothed, held against a target, with the covariance of
// throughput and limit over 50 windows; failsafe-go's limiter is an open copy of it.
class PidShedder final : public Shedder {
 public:
  struct Options {
    // The posts say proportional and integral only. The gains, and how many errors are summed up, as in the copy that
    // failsafe-go had (adaptivelimiter/pidlimiter.go at 2363cb8b).
    double kp = 0.1;
    double ki = 1.4;
    std::size_t errors = 30;
    // The period, and how long one may wait in the queue, as in the copy github.com/jfrz38/rate-limit-pid-controller
    // (code/core/src/default-parameters.ts: pid.interval, timeout.priorityQueue.value).
    Duration period = std::chrono::milliseconds(500);
    Duration max_wait = std::chrono::milliseconds(500);
    // "PID Controller for Cinnamon": the requests that the distribution is made of.
    std::size_t history = 1000;
    // Cohorts of a tier, as in the same copy (code/core/README.md: threshold.initial).
    int cohorts = 128;
  };
  explicit PidShedder(const Options& options);

  bool refuses(const Arrival& arrival, const Queue& queue) override;
  void entered() override { ++in_; }
  void went_through() override { ++out_; }
  void tick(Instant now, const Queue& queue) override;
  double share() const { return share_; }

 private:
  void judge(const Queue& queue);
  void find_threshold();

  const Options options_;
  int in_ = 0;
  int out_ = 0;
  Instant period_ends_{};
  std::vector<double> errors_;
  std::size_t next_error_ = 0;
  double share_ = 0;
  // Who is above is refused.
  int threshold_;
  // Priorities of the last requests, and how many there are of each.
  std::vector<int> history_;
  std::size_t next_history_ = 0;
  std::vector<int> count_;
};

}  // namespace penstock::simulate
