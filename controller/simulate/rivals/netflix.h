#pragma once

#include <optional>

#include "controller/simulate/rivals/counted.h"

// What Netflix's limiters share. Source: github.com/Netflix/concurrency-limits, concurrency-limits-core: Limiter.java
// at 3882327e, AbstractLimiter.java at 084ce82f, WindowedLimit.java and window/ImmutableAverageSampleWindow.java at
// 25a05f1f, functions/Log10RootIntFunction.java at 108594a1.
namespace penstock::simulate {

// Lets in while fewer are in flight than the limit, refuses otherwise, and measures what ended. By the contract of
// Limiter.Listener an answer is a success, a time-out or a refusal of the other side is a drop, and everything else is
// ignored. A sample's in_flight is counted when it started and includes itself.
class NetflixLimiter : public CountedLimiter {
 public:
  explicit NetflixLimiter(int initial) : limit_(initial) {}
  bool admit(const Arrival&) final { return let_in(in_flight() < limit_); }
  void ended(const Ended& ended) final;
  std::optional<double> limit() const final { return limit_; }

 protected:
  struct Sample {
    Instant end;
    Duration rtt;
    int in_flight;
    bool dropped;
  };
  // The limit from now on.
  virtual int update(const Sample& sample) = 0;

  friend class NetflixWindow;

 private:
  int limit_;
};

// Samples of a second made into one: mean time, greatest in_flight, and whether one was dropped.
class NetflixWindow {
 public:
  using Sample = NetflixLimiter::Sample;
  // The window's sample when this one closes it. A window with too few samples is thrown away.
  std::optional<Sample> add(const Sample& sample);

 private:
  // WindowedLimit: DEFAULT_MIN_WINDOW_TIME, DEFAULT_MAX_WINDOW_TIME; between them lies twice the shortest time.
  static constexpr Duration kShortest = std::chrono::seconds(1);
  static constexpr Duration kLongest = std::chrono::seconds(1);
  // WindowedLimit: DEFAULT_MIN_RTT_THRESHOLD, DEFAULT_WINDOW_SIZE.
  static constexpr Duration kIgnoredBelow = std::chrono::microseconds(100);
  static constexpr int kFewest = 10;

  Instant closes_{};
  int count_ = 0;
  Duration sum_{};
  Duration least_ = Duration::max();
  int most_in_flight_ = 0;
  bool dropped_ = false;
};

// The integer part of the decimal logarithm, but at least 1 below 1000.
int netflix_log10(int limit);

}  // namespace penstock::simulate
