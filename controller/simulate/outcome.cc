#include "controller/simulate/outcome.h"

#include <algorithm>
#include <cmath>

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;

// How long after an episode what it left behind may still be refused.
constexpr Duration kAftermath = 20s;
// Users are served again once this share of them is, over so many seconds.
constexpr double kServedAgain = 0.95;
constexpr std::size_t kServedFor = 3;

const double kBin = std::log(1.01);
constexpr double kShortest = 1e-4;

}  // namespace

void LatencyHistogram::add(Duration latency) {
  const double s = std::max(decision::seconds(latency), kShortest);
  const auto bin = static_cast<std::size_t>(std::log(s / kShortest) / kBin);
  if (bin >= bins_.size()) bins_.resize(bin + 1);
  ++bins_[bin];
  ++count_;
}

std::optional<Duration> LatencyHistogram::quantile(double q) const {
  std::int64_t left = static_cast<std::int64_t>(std::ceil(q * static_cast<double>(count_)));
  for (std::size_t bin = 0; bin < bins_.size(); ++bin) {
    left -= bins_[bin];
    if (left <= 0 && bins_[bin] > 0) {
      return decision::from_seconds(kShortest * std::exp(kBin * (static_cast<double>(bin) + 0.5)));
    }
  }
  return std::nullopt;
}

std::optional<double> Outcome::Count::ratio() const {
  if (all == 0) return std::nullopt;
  return static_cast<double>(good) / static_cast<double>(all);
}

Outcome::Outcome(const Scenario& scenario)
    : scenario_(scenario),
      trouble_(scenario.trouble()),
      by_second_(static_cast<std::size_t>(decision::seconds(scenario.duration)) + 1) {}

bool Outcome::normal(Instant now) const {
  const Duration t = since_start(now);
  return !trouble_ || t < trouble_->from || t > trouble_->to + kAftermath;
}

void Outcome::user_came(Instant first_try) {
  if (measured(first_try)) ++users_;
}

void Outcome::try_made(Instant first_try) {
  if (measured(first_try)) ++tries_;
}

void Outcome::user_served(std::uint32_t page, Instant first_try, Instant now) {
  const bool affected = scenario_.pages[page].affected;
  Second& second = this->second(first_try);
  ++(affected ? second.affected : second.others);
  ++(affected ? second.affected_served : second.others_served);
  if (!measured(first_try)) return;
  Count& count = affected ? affected_ : unaffected_;
  ++count.all;
  ++count.good;
  if (!affected) unaffected_latency_.add(now - first_try);
}

void Outcome::user_lost(std::uint32_t page, Instant first_try) {
  const bool affected = scenario_.pages[page].affected;
  ++(affected ? second(first_try).affected : second(first_try).others);
  if (measured(first_try)) ++(affected ? affected_ : unaffected_).all;
}

void Outcome::try_refused(Instant now) {
  if (normal(now)) ++normal_refused_;
}

void Outcome::calls_made(std::int64_t calls, bool useful, Instant began) {
  if (!measured(began)) return;
  calls_ += calls;
  if (!useful) wasted_ += calls;
}

void Outcome::concluded(Instant now, std::uint32_t node, std::uint32_t upstream, Cause cause,
                        std::string_view message) {
  const Duration t = since_start(now);
  Truth truth = scenario_.truth(upstream, t);
  // What an episode leaves behind, calls that hang among it, is judged as the episode itself.
  if (truth == Truth::none) truth = scenario_.truth(upstream, t - scenario_.users.patience);
  verdicts_.push_back(
      {decision::seconds(t), node, scenario_.upstreams[upstream].name, cause, truth, std::string(message)});
}

void Outcome::breaker_moved(Instant now, std::uint32_t node, std::uint32_t upstream, bool open) {
  breakers_.push_back({decision::seconds(since_start(now)), node, upstream, open});
}

std::optional<double> Outcome::recovery() const {
  if (!trouble_ || trouble_->to >= scenario_.duration) return std::nullopt;
  const auto first = static_cast<std::size_t>(decision::seconds(trouble_->to));
  for (std::size_t s = first; s + kServedFor <= by_second_.size(); ++s) {
    Count sum;
    for (std::size_t i = s; i < s + kServedFor; ++i) {
      sum.good += by_second_[i].affected_served;
      sum.all += by_second_[i].affected;
    }
    if (sum.all > 0 && *sum.ratio() >= kServedAgain) return static_cast<double>(s - first);
  }
  return std::nullopt;
}

Row Outcome::row() const {
  Row row;
  row.scenario = scenario_.name;
  const Count all{affected_.good + unaffected_.good, affected_.all + unaffected_.all};
  row.goodput = all.ratio().value_or(0);
  row.affected_goodput = affected_.ratio();
  row.unaffected_goodput = unaffected_.ratio();
  if (const auto p99 = unaffected_latency_.quantile(0.99)) row.unaffected_p99_ms = decision::seconds(*p99) * 1e3;
  if (normal_tries_ > 0) {
    row.shed_normal = static_cast<double>(normal_refused_) / static_cast<double>(normal_tries_);
  }
  if (calls_ > 0) row.wasted_call_ratio = static_cast<double>(wasted_) / static_cast<double>(calls_);
  if (users_ > 0) row.tries_per_user = static_cast<double>(tries_) / static_cast<double>(users_);
  row.peak_memory_mib = static_cast<double>(peak_memory_) / (1024 * 1024);
  row.crashes = crashes_;
  row.verdicts = verdicts_;
  row.users = users_;
  row.calls = calls_;
  row.recovery_s = recovery();
  row.series = by_second_;
  if (trouble_) {
    const double from = decision::seconds(trouble_->from);
    for (const BreakerMoved& moved : breakers_) {
      if (!moved.open || moved.time < from) continue;
      row.trip_s = moved.time - from;
      break;
    }
    for (std::uint32_t upstream = 0; upstream < scenario_.upstreams.size(); ++upstream) {
      for (const Episode& episode : scenario_.upstreams[upstream].episodes) {
        if (episode.truth != Truth::ours) continue;
        const double began = decision::seconds(episode.window.from);
        for (const Concluded& verdict : verdicts_) {
          if (verdict.cause != Cause::ours || verdict.time < began) continue;
          if (verdict.upstream != scenario_.upstreams[upstream].name) continue;
          row.knee_s = std::min(row.knee_s.value_or(1e9), verdict.time - began);
          break;
        }
      }
    }
  }
  return row;
}

}  // namespace penstock::simulate
