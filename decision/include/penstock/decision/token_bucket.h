#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "penstock/decision/prefetch.h"
#include "penstock/decision/time.h"

namespace penstock::decision {

// The rate at which an upstream that refuses calls (429, or 503 with Retry-After) may be called. It is full from
// everyone: fewer calls in flight would not help, fewer calls a second do.
//
//   - Begins with kFewest refusals within kFirst, and kShare of the calls: the rate is what was accepted in it, or is
//     still under way.
//   - Each 0.5 s: 0.95 x what is accepted if more than 2 % were refused, else 5 % more, and up to 30 % more the longer
//     nothing is refused. So some 3 % of calls are refused at a limit that stands, and one that is lifted is found
//     within seconds.
//   - While most calls are refused, Retry-After is obeyed: nothing goes out before it. A Retry-After on the odd call
//   says
//     when that call may come back, not that the others are unwelcome.
//   - Ends when nothing was refused and no call was held back for kQuiet.
//
// Tokens for a tenth of a second may pile up. Not thread-safe. Deterministic.
class TokenBucket {
 public:
  static constexpr std::int64_t kFewest = 3;
  static constexpr double kShare = 0.05;
  static constexpr Duration kQuiet = std::chrono::seconds(5);
  // In which the first refusals are counted.
  static constexpr Duration kFirst = std::chrono::seconds(1);

  // True: the call may go out.
  bool take(Instant now);
  // How it ended.
  void accepted(Instant now, std::int64_t calls = 1);
  void refused(Instant now, std::optional<Duration> retry_after);
  // Every 100 ms. `pending`: calls of the last second that have neither been answered nor refused. After a start or in
  // a burst these are all that were accepted.
  void tick(Instant now, std::int64_t pending = 0);

  // Whether that tick asks for `pending`: to count them costs more than all the rest.
  bool asks_pending(Instant now) const { return !rate_ && now - quiet_since_ <= kFirst; }

  bool active() const { return rate_.has_value(); }
  // Calls per second; unset: any.
  std::optional<double> rate() const { return rate_; }
  // What tick() reads while no rate is in force.
  void prefetch() const { decision::prefetch(this, &filled_); }
  // What accepted() writes.
  void prefetch_slot(Instant now) const { __builtin_prefetch(&slots_[index(now)], 1); }
  // When the next call may go out, if it may not now.
  Duration wait(Instant now) const;
  // Of the calls of the last second.
  double refused_share(Instant now) const;

 private:
  static constexpr int kSlots = 10;
  struct Slot {
    std::int64_t number = -1;
    std::int64_t accepted = 0;
    std::int64_t refused = 0;
  };
  static std::int64_t number(Instant now) { return now.time_since_epoch() / std::chrono::milliseconds(100); }
  static std::size_t index(Instant now) { return static_cast<std::size_t>(((number(now) % kSlots) + kSlots) % kSlots); }
  void restart(Instant now);
  Slot& slot(Instant now);
  Slot sum(Instant now, int slots) const;

  std::optional<double> rate_;
  Instant quiet_since_{};
  double tokens_ = 0;
  Instant filled_{};
  // First call that was accepted.
  Instant first_{};
  // Since then.
  Instant adjusted_{};
  double growth_ = 1;
  std::int64_t accepted_ = 0;
  std::int64_t refused_ = 0;
  std::int64_t taken_ = 0;
  Instant paused_until_{};
  Instant retry_at_{};
  std::array<Slot, kSlots> slots_{};
};

}  // namespace penstock::decision
