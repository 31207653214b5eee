#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "penstock/decision/prefetch.h"
#include "penstock/decision/time.h"

// F, the probability that a call succeeds before its caller's patience ends.
//
// A call's life is cut into age bins. In each bin that it enters it is counted exactly once, when it leaves the bin: as
// success, as failure, or as survivor into the next. Counting the *stock* in flight instead would count a slow call
// again and again and cut an upstream off in a brown-out. With s, f, v the decayed counts of a bin and w its calls in
// flight, each weighed by the part of the bin that it has lived through (after the actuarial estimator of life tables:
// S. J. Cutler, F. Ederer, J. Chronic Diseases 8(6), 1958),
//
//   p = s / (s + f + v + w)     P(success in the bin | entered)
//   q = f / (s + f + v + w)     P(failure in the bin | entered)
//   F(P) = sum over bins up to P of p x product over earlier bins of (1 - p - q);   the last bin by its part up to P
//
// Three things keep F from lying:
//   - Unidentified means hold. A bin that no call has left counts as if every call that enters it succeeded, as long as
//     it begins before the horizon min(P, max(5.25 s, P / 2)); beyond, it borrows the last identified bin's p and q.
//     So a black hole is recognised at about 5.7 s for patiences up to 11 s, while an upstream that suddenly answers
//     only after 5 s, or pauses that long and then goes on, is never taken for one.
//   - A half-life alone is slow to forget good times: 200 good answers outweigh all that happens in two seconds. So a
//     run of non-successes in a bin that has a chance below kRunChance under the bin's own p cuts its past off.
//   - F carries how many calls it rests on; `upper` is the bound of Wilson's score interval (E. B. Wilson, JASA 22,
//     1927), and only that is compared with a threshold.
namespace penstock::decision {

class Usefulness {
 public:
  // Octaves as in the study of the control loop up to 2 s, half octaves from there: a black hole has to be told from 5
  // s of latency, and 4-8 s in one bin tells that too late.
  static constexpr std::array<Duration, 12> kEdges = {
      std::chrono::milliseconds(0),     std::chrono::milliseconds(250),   std::chrono::milliseconds(500),
      std::chrono::milliseconds(1000),  std::chrono::milliseconds(2000),  std::chrono::milliseconds(2828),
      std::chrono::milliseconds(4000),  std::chrono::milliseconds(5657),  std::chrono::milliseconds(8000),
      std::chrono::milliseconds(11314), std::chrono::milliseconds(16000), std::chrono::milliseconds(22627)};
  static constexpr int kBins = static_cast<int>(kEdges.size());
  static int bin_of(Duration age);

  Usefulness() = default;
  // Forgets everything.
  void reset(Instant now);

  // A call enters bin 0.
  void begun(Instant started);
  // A call leaves `bin` alive for the next.
  void survived(int bin, Instant started);
  // A call ends in `bin`. `fast`: with an explicit error, not by running out of time.
  void succeeded(int bin, Instant started, Instant now);
  void failed(int bin, Instant started, bool fast);
  void gone(int bin, Instant started);
  // Calls that began, and calls that succeeded in bin 0, told together. Comes before what survived meanwhile.
  struct Short {
    std::int64_t begun = 0;
    std::int64_t succeeded = 0;
    // Of those that began, less those that succeeded, in microseconds.
    std::int64_t starts = 0;
    Instant last_success{};
  };
  void tell(const Short& calls);
  // Ages the evidence.
  void decay(Instant now);

  struct Estimate {
    double value = 1;
    // 95 % upper bound.
    double upper = 1;
    // False: some bin that matters has no evidence, `value` is an optimistic bound.
    bool identified = false;
    double calls = 0;
  };
  // Unset without any evidence.
  std::optional<Estimate> estimate(Duration patience, Instant now) const;
  // Cheaper: at least so much, and identified, by what is answered within the first bin alone.
  bool at_least(double value, Duration patience) const;

  // How soon so large a share of the calls that begin now has succeeded, rounded up to an edge; max: not known to be.
  Duration soonest(double share) const;

  // While no call comes, at_least() holds until nothing is known any more.
  bool stays_at_least(double value, Duration patience) const;

  // Calls since the last success that got past bin 0, or failed in it.
  std::int64_t fruitless() const { return fruitless_; }
  // How long no call must have succeeded before that alone is believed: a pause that callers can bear is not death.
  Duration bearable_silence(Duration patience) const;
  // Whether most of those did not fail at once but hang, or ran out of time.
  bool hanging() const { return fruitless_fast_ * 2 <= fruitless_; }
  // How long calls have been under way without any success.
  Duration silence(Instant now) const;

  static Duration horizon(Duration patience);

  // What a tick reads when all is well; then what it reads besides, if anything.
  void prefetch() const { decision::prefetch(this, &bins_[1]); }
  bool prefetch_bins() const {
    if (used_ <= 1) return false;
    decision::prefetch(&bins_[1], bins_.data() + used_);
    return true;
  }

 private:
  // A line of the cache.
  struct alignas(64) Bin {
    double success = 0;
    double failure = 0;
    double survivor = 0;
    // Since the last success in this bin.
    double run_failure = 0;
    double run_survivor = 0;
    std::int32_t run = 0;
    // Calls in it now, and the sum of their starts in microseconds.
    std::int32_t in_flight = 0;
    std::int64_t starts = 0;
    // Logarithm of P(no success) of a call in the bin when the run began.
    double run_log = 0;

    double left() const { return success + failure + survivor; }
  };
  double lived_through(int bin, Instant now) const;
  // To which evidence is added.
  Bin& evidence(int bin);
  void without_success(Bin& bin, double& sum, double& run_sum);
  void leave(Bin& bin, Instant started);
  void count_fruitless(Instant started);

  // Bins from here on have no evidence.
  int used_ = 0;
  std::optional<Instant> decayed_;
  Instant last_success_{};
  std::int64_t fruitless_ = 0;
  // Start of the first of them.
  Instant fruitless_since_{};
  std::int64_t fruitless_fast_ = 0;
  std::array<Bin, kBins> bins_{};
};

}  // namespace penstock::decision
