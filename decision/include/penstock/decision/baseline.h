#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "penstock/decision/time.h"

// What something that repeats by the week usually is at this time, and how far it has moved: the latency of an
// upstream, the rate of a pool. One number an hour goes in, of up to four weeks; out comes
//
//   expected(t) = level x shape(t)
//
//   shape   for each hour of the week, relative to the week around it: the median of the same hour of the same day of
//           the week where three weeks have it, else of the working days or the weekend's, else of all days, else one.
//           A median of three and more: one bad evening is not learned.
//   level   median, over the last day, of what was measured over the shape: follows what becomes slower for good within
//           half a day, and no incident of a few hours.
//
// Relative to the week around it, so that a step of the level does not become part of the shape.
//
//   drift   median, over the last day, of the ratio to the same hours one to three weeks before; the largest of these.
//           A daily pattern is none, an incident neither; what slowly becomes slower is, though every hour looks like
//           the one before.
//
// Hours are UTC. Pure: the same samples in any order, the same answers. Not thread-safe.
namespace penstock::decision {

class Baseline {
 public:
  static constexpr int kDay = 24;
  static constexpr int kWeek = 7 * kDay;
  static constexpr int kWeeks = 4;
  // Hours with samples below which nothing is expected.
  static constexpr int kFewest = 24;

  // `hour`: of what is called one here; other than an hour where days are compressed.
  explicit Baseline(Duration hour = std::chrono::hours(1)) : hour_(hour) {}

  // Mean over the hour that holds this time on the wall clock (since the Unix epoch); the last word on an hour counts.
  // Numbers that are negative or not finite are left out, and hours more than four weeks before the newest.
  void record(Duration wall, double mean);

  // What the shape at an hour rests on.
  enum class Rests { all_hours, days, day_kind, weeks };
  struct Expected {
    double value = 0;
    Rests rests = Rests::all_hours;
    // Samples of that hour behind the shape.
    int samples = 0;
  };
  // Unset while fewer than kFewest hours are known.
  std::optional<Expected> expected(Duration wall) const;
  // The most that is expected at any time of the span.
  std::optional<double> highest(Duration from, Duration to) const;

  struct Drift {
    double ratio = 1;
    // How long before; zero: of the last three hours, to what was expected of them.
    Duration over{};
    // Hours compared.
    int pairs = 0;
  };
  // Over weeks; over days while there is no week. Unset: fewer than half a day to compare.
  std::optional<Drift> drift() const;
  // Of the last hours: what moves by the hour.
  std::optional<Drift> departure() const;

  // Hours known; from the first of them to the end of the last, since the Unix epoch.
  int hours() const { return known_; }
  Duration since() const { return hour_ * oldest_; }
  Duration until() const { return hour_ * (newest_ + 1); }
  Duration hour() const { return hour_; }

 private:
  struct Slot {
    double shape = 1;
    Rests rests = Rests::all_hours;
    int samples = 0;
  };
  // Of an hour since the Unix epoch; negative: not known.
  double at(std::int64_t hour) const;
  double expected_of(std::int64_t hour) const;
  std::vector<double> ratios(int hours_before) const;
  void fit() const;

  Duration hour_;
  std::vector<double> ring_;
  std::int64_t newest_ = -1;
  std::int64_t oldest_ = -1;
  int known_ = 0;
  // Made of the samples when asked for.
  mutable bool fitted_ = false;
  mutable std::array<Slot, kWeek> shape_{};
  mutable double level_ = 0;
};

// "the same hour of the week", "the same hour of such days", "the same hour of the days", "all hours".
std::string_view to_string(Baseline::Rests rests);

}  // namespace penstock::decision
