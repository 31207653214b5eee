#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {

// Client-side throttling as Google does it. Source: B. Beyer et al. (ed.), "Site Reliability Engineering", O'Reilly
// 2016, chapter 21, "Handling Overload" (sre.google/sre-book/handling-overload), equation 21-1.
//
//   refuse with probability max(0, (requests - K * accepts) / (requests + 1))
//
// `requests` counts what was asked for in the last two minutes, refusals included, `accepts` what the other side took
// on: answers, be they errors, but no refusals and nothing that never was answered.
class SreThrottle final : public CountedLimiter {
 public:
  struct Options {
    // "Handling Overload", "Client-Side Throttling": K, and the time that is looked back.
    double k = 2;
    int seconds = 120;
  };
  explicit SreThrottle(const Options& options) : options_(options) {}

  bool admit(const Arrival& arrival) override;
  void ended(const Ended& ended) override;
  // Of the next request.
  double refusal() const;

 private:
  static constexpr std::size_t kMaxSeconds = 600;
  struct Bucket {
    std::int64_t requests = 0;
    std::int64_t accepts = 0;
  };
  Bucket& bucket(Instant now);

  const Options options_;
  // One for each second of the last `seconds`.
  std::array<Bucket, kMaxSeconds> buckets_{};
  Bucket sum_;
  std::int64_t second_ = 0;
};

}  // namespace penstock::simulate
