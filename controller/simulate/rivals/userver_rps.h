#pragma once

#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {

// userver's congestion control of a server: requests a second, lowered while tasks wait too long for a CPU. Source:
// github.com/userver-framework/userver, core/src/congestion_control/controller.cpp at 3a5a7ccd,
// core/src/server/congestion_control/sensor.cpp at 66b998ba, core/src/server/http/http_request_handler.cpp, and
// scripts/docs/en/userver/congestion_control.md, whose levels count where the code at that commit takes any as 1.
//
// Each second: overloaded now iff more tasks than a level waited over 3 ms in the queue of the task processor. After
// some such seconds in a row the limit starts at 3/4 of the rate and falls by 2 % a second; after some without, it
// rises by 2 % or by 2^seconds, whichever is less. It is a token bucket that holds a second's worth.
class UserverRps final : public CountedLimiter {
 public:
  struct Options {
    // The default of the dynamic configuration USERVER_RPS_CCONTROL.
    double min_limit = 10;
    double up_percent = 2;
    double down_percent = 2;
    int overload_on_seconds = 3;
    int overload_off_seconds = 3;
    double up_level = 2;
    double down_level = 1;
    int no_limit_seconds = 1000;
    // congestion_control::Policy.
    double start_limit_factor = 0.75;
    // wait_queue_overload.sensor_time_limit_us of USERVER_TASK_PROCESSOR_QOS.
    Duration sensor_limit = std::chrono::microseconds(3000);
  };
  explicit UserverRps(const Options& options) : options_(options) {}

  bool admit(const Arrival& arrival) override;
  void ended(const Ended& ended) override;
  // The simulator tells the mean run delay; the share of tasks above the sensor's limit is that of exponentially
  // distributed delays. Tasks are what arrived, ended, or both in between.
  void tick(Instant now, const Load& load) override;

  // What the sensor reports of a second; tick() feeds it.
  struct Sensed {
    double rate;
    double overloads;
  };
  void feed(const Sensed& sensed);
  // Requests a second.
  std::optional<double> limit() const override { return limit_; }
  bool overloaded() const { return overloaded_; }

 private:
  double next_limit(const Sensed& sensed) const;
  void refill(Instant now);

  const Options options_;
  bool overloaded_ = false;
  int with_overload_ = 0;
  int without_overload_ = 0;
  double max_up_ = 1;
  std::optional<double> limit_;

  double tokens_ = 0;
  Instant refilled_{};
  // Since the last feed().
  int arrived_ = 0;
  // Since the last tick.
  int tasks_ = 0;
  double overloads_ = 0;
  int ticks_ = 0;
};

}  // namespace penstock::simulate
