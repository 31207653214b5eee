#pragma once

#include <cstdint>

#include "controller/simulate/random.h"
#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {

// brpc's automatic limit of a method. Source: github.com/apache/brpc, src/brpc/policy/auto_concurrency_limiter.cpp at
// 5283d0d9 and docs/en/auto_concurrency_limiter.md.
//
//   limit = shortest * peak * (1 + explore)
//
// `shortest` follows the mean time of windows downwards only and `peak` their successes a second upwards at once, so
// that their product is the concurrency of a service at its best. `explore` grows where a window is about as fast as
// the shortest or has less than the peak, and shrinks else. Once in 25 to 50 s the limit is lowered to 0.9 of the
// product for two mean times, after which the shortest is measured anew. Failures lengthen the mean; a window of
// failures alone halves the limit.
class BrpcAuto final : public CountedLimiter {
 public:
  // The gflags auto_cl_* of the source.
  struct Options {
    Duration window = std::chrono::milliseconds(1000);               // sample_window_size_ms
    int min_samples = 100;                                           // min_sample_count
    int max_samples = 200;                                           // max_sample_count
    Duration sampling_interval = std::chrono::microseconds(100);     // sampling_interval_ms
    int initial = 40;                                                // initial_max_concurrency
    Duration remeasure_interval = std::chrono::milliseconds(50000);  // noload_latency_remeasure_interval_ms
    double alpha = 0.1;                                              // alpha_factor_for_ema
    double fail_punish = 1.0;                                        // fail_punish_ratio
    double max_explore = 0.3;                                        // max_explore_ratio
    double min_explore = 0.06;                                       // min_explore_ratio
    double explore_step = 0.02;                                      // change_rate_of_explore_ratio
    double remeasure_share = 0.9;                                    // reduce_ratio_while_remeasure
    double fluctuation = 1;                                          // latency_fluctuation_correction_factor
    // bthread_concurrency: 8 + BTHREAD_EPOLL_THREAD_NUM (src/bthread/bthread.cpp). The limit's floor.
    int floor = 9;
  };
  BrpcAuto(const Options& options, std::uint64_t seed);

  // Not more than the limit with itself.
  bool admit(const Arrival& arrival) override;
  // What the other side refused is ELIMIT, which is no sample.
  void ended(const Ended& ended) override;
  std::optional<double> limit() const override { return limit_; }
  double explore() const { return explore_; }

 private:
  Instant next_remeasure(Instant now);
  void add(std::int64_t micros, bool ok, Instant now);
  void reset_window(Instant now);
  void set_limit(int limit);
  void update(Instant now);

  const Options options_;
  Random random_;
  int limit_;
  double explore_;
  bool begun_ = false;
  Instant remeasure_{};
  // While samples are thrown away because the limit was just lowered; epoch: no such time.
  Instant ignore_until_{};
  Instant last_sample_{};
  // Microseconds; 0: not measured. And a second.
  std::int64_t shortest_ = 0;
  double peak_ = -1;

  Instant window_start_{};
  int succeeded_ = 0;
  int failed_ = 0;
  std::int64_t succeeded_micros_ = 0;
  std::int64_t failed_micros_ = 0;
  // Of the window, sampled or not.
  int successes_ = 0;
};

}  // namespace penstock::simulate
