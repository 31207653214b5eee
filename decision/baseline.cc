#include "penstock/decision/baseline.h"

#include <algorithm>
#include <cmath>

namespace penstock::decision {
namespace {

constexpr int kRing = Baseline::kWeeks * Baseline::kWeek;
// Samples of one hour that a median of them needs to leave one bad day out.
constexpr int kEnough = 3;
// Hours compared, of a day, without which there is no drift.
constexpr std::size_t kFewestPairs = 12;
// Hours that tell what moves by the hour: the median leaves one of them out.
constexpr int kLately = 3;

std::int64_t ring_index(std::int64_t hour) { return hour % kRing; }

int hour_of_week(std::int64_t hour) {
  // The Unix epoch was a Thursday; weeks begin on Monday.
  return static_cast<int>((hour + 3 * Baseline::kDay) % Baseline::kWeek);
}

bool weekend(int hour_of_week) { return hour_of_week / Baseline::kDay >= 5; }

// Of at least one; of an even number the mean of the middle two.
double median(std::vector<double>& of) {
  const auto middle = of.begin() + static_cast<std::ptrdiff_t>(of.size() / 2);
  std::nth_element(of.begin(), middle, of.end());
  if (of.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(of.begin(), middle)) / 2;
}

// Of an hour that is not known.
constexpr double kUnknown = -1;

double distance(double ratio) { return std::abs(std::log(ratio)); }

}  // namespace

double Baseline::at(std::int64_t hour) const {
  return hour > newest_ || hour <= newest_ - kRing || hour < 0 ? kUnknown : ring_[ring_index(hour)];
}

void Baseline::record(Duration wall, double mean) {
  if (!std::isfinite(mean) || mean < 0 || wall < Duration::zero()) return;
  const std::int64_t hour = wall / hour_;
  if (ring_.empty()) ring_.resize(kRing, kUnknown);
  if (newest_ >= 0 && hour <= newest_ - kRing) return;
  // Hours that leave.
  for (std::int64_t next = std::max(newest_ + 1, hour - kRing + 1); newest_ >= 0 && next <= hour; ++next) {
    double& place = ring_[ring_index(next)];
    known_ -= place >= 0 ? 1 : 0;
    place = kUnknown;
  }
  newest_ = std::max(newest_, hour);
  double& place = ring_[ring_index(hour)];
  known_ += place >= 0 ? 0 : 1;
  place = mean;
  oldest_ = oldest_ < 0 ? hour : std::min(oldest_, hour);
  for (oldest_ = std::max(oldest_, newest_ - kRing + 1); at(oldest_) < 0; ++oldest_) {
  }
  fitted_ = false;
}

void Baseline::fit() const {
  fitted_ = true;
  std::vector<double> scratch;
  // The week around each day.
  const auto week_around = [&](std::int64_t day) {
    scratch.clear();
    for (std::int64_t hour = (day - 3) * kDay; hour < (day + 4) * kDay; ++hour)
      if (const double value = at(hour); value >= 0) scratch.push_back(value);
    return scratch.empty() ? 0 : median(scratch);
  };
  std::array<std::vector<double>, kWeek> relative;
  double week = 0;
  std::int64_t of_day = -1;
  for (std::int64_t hour = oldest_; hour <= newest_; ++hour) {
    const double value = at(hour);
    if (value < 0) continue;
    if (hour / kDay != of_day) week = week_around(of_day = hour / kDay);
    relative[hour_of_week(hour)].push_back(week > 0 ? value / week : 1);
  }
  for (int slot = 0; slot < kWeek; ++slot) {
    const auto gather = [&](Rests rests, auto&& belongs) {
      scratch.clear();
      for (int other = slot % kDay; other < kWeek; other += kDay)
        if (belongs(other)) scratch.insert(scratch.end(), relative[other].begin(), relative[other].end());
      if (scratch.size() < kEnough) return false;
      const auto samples = static_cast<int>(scratch.size());
      shape_[slot] = {median(scratch), rests, samples};
      return true;
    };
    if (gather(Rests::weeks, [&](int other) { return other == slot; })) continue;
    if (gather(Rests::day_kind, [&](int other) { return weekend(other) == weekend(slot); })) continue;
    if (gather(Rests::days, [](int) { return true; })) continue;
    shape_[slot] = {1, Rests::all_hours, static_cast<int>(scratch.size())};
  }
  scratch.clear();
  // After a gap the last day may be an hour or two, which could be bad ones: then it is the last hours known.
  for (std::int64_t hour = newest_; hour >= oldest_; --hour) {
    if (hour <= newest_ - kDay && scratch.size() >= kFewestPairs) break;
    const double shape = shape_[hour_of_week(hour)].shape;
    if (const double value = at(hour); value >= 0 && shape > 0) scratch.push_back(value / shape);
  }
  level_ = scratch.empty() ? 0 : median(scratch);
}

double Baseline::expected_of(std::int64_t hour) const { return level_ * shape_[hour_of_week(hour)].shape; }

std::optional<Baseline::Expected> Baseline::expected(Duration wall) const {
  if (known_ < kFewest || wall < Duration::zero()) return std::nullopt;
  if (!fitted_) fit();
  // A mean over an hour is what holds in its middle; in between it is on the way.
  const std::int64_t hour = wall / hour_;
  const double into = seconds(wall - hour * hour_) / seconds(hour_) - 0.5;
  const double here = expected_of(hour);
  const double there = expected_of(into < 0 ? std::max<std::int64_t>(hour - 1, 0) : hour + 1);
  const Slot& slot = shape_[hour_of_week(hour)];
  return Expected{here + std::abs(into) * (there - here), slot.rests, slot.samples};
}

std::optional<double> Baseline::highest(Duration from, Duration to) const {
  std::optional<double> result;
  // It is linear in between.
  const auto look = [&](Duration at) {
    if (const auto expected = this->expected(at)) result = std::max(result.value_or(0), expected->value);
  };
  look(from);
  for (Duration middle = from / hour_ * hour_ + hour_ / 2; middle < to; middle += hour_)
    if (middle > from) look(middle);
  look(to);
  return result;
}

std::vector<double> Baseline::ratios(int hours_before) const {
  std::vector<double> result;
  for (std::int64_t hour = newest_; hour > newest_ - kDay; --hour) {
    const double now = at(hour);
    const double then = at(hour - hours_before);
    if (now > 0 && then > 0) result.push_back(now / then);
  }
  return result;
}

std::optional<Baseline::Drift> Baseline::drift() const {
  std::optional<Drift> result;
  const auto compare = [&](int hours_before) {
    std::vector<double> pairs = ratios(hours_before);
    if (pairs.size() < kFewestPairs) return;
    const auto count = static_cast<int>(pairs.size());
    const double ratio = median(pairs);
    if (!result || distance(ratio) > distance(result->ratio)) result = Drift{ratio, hour_ * hours_before, count};
  };
  for (int week = 1; week < kWeeks; ++week) compare(week * kWeek);
  for (int day = 6; day >= 1 && !result; --day) compare(day * kDay);
  return result;
}

std::optional<Baseline::Drift> Baseline::departure() const {
  if (known_ < kFewest) return std::nullopt;
  if (!fitted_) fit();
  std::vector<double> lately;
  for (std::int64_t hour = newest_; hour > newest_ - kLately; --hour) {
    const double usual = expected_of(hour);
    if (const double value = at(hour); value >= 0 && usual > 0) lately.push_back(value / usual);
  }
  if (lately.size() < kLately) return std::nullopt;
  return Drift{median(lately), Duration::zero(), kLately};
}

std::string_view to_string(Baseline::Rests rests) {
  switch (rests) {
    case Baseline::Rests::weeks:
      return "the same hour of the week";
    case Baseline::Rests::day_kind:
      return "the same hour of such days";
    case Baseline::Rests::days:
      return "the same hour of the days";
    case Baseline::Rests::all_hours:
      return "all hours";
  }
  return "all hours";
}

}  // namespace penstock::decision
