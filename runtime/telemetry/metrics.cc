#include "penstock/metrics.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <stdexcept>
#include <thread>

#include "runtime/fiber/fiber_state.h"
#include "runtime/telemetry/shards.h"

namespace penstock {
namespace telemetry {

std::size_t shard_count() {
  static const std::size_t count = std::bit_ceil(std::clamp(std::thread::hardware_concurrency(), 1u, 64u));
  return count;
}

std::size_t shard_index() { return fiber::thread_index() & (shard_count() - 1); }

}  // namespace telemetry

using telemetry::kCacheLine;
using telemetry::shard_count;
using telemetry::shard_index;

struct alignas(kCacheLine) Counter::Shard {
  std::atomic<double> value{0};
};

Counter::Counter() : shards_(new Shard[shard_count()]) {}
Counter::~Counter() = default;

void Counter::add(double value) {
  if (!(value >= 0)) throw std::invalid_argument("a counter does not decrease");
  shards_[shard_index()].value.fetch_add(value, std::memory_order_relaxed);
}

double Counter::value() const {
  double sum = 0;
  for (std::size_t i = 0; i < shard_count(); ++i) sum += shards_[i].value.load(std::memory_order_relaxed);
  return sum;
}

struct Gauge::Cell {
  std::atomic<double> value{0};
};

Gauge::Gauge() : cell_(new Cell) {}
Gauge::~Gauge() = default;
void Gauge::set(double value) { cell_->value.store(value, std::memory_order_relaxed); }
void Gauge::add(double value) { cell_->value.fetch_add(value, std::memory_order_relaxed); }
double Gauge::value() const { return cell_->value.load(std::memory_order_relaxed); }

// Its buckets, not cumulative, the last one for what is above every edge; on cache lines of its own.
struct alignas(kCacheLine) Histogram::Shard {
  struct alignas(kCacheLine) Line {
    std::atomic<std::uint64_t> cells[kCacheLine / sizeof(std::uint64_t)]{};
  };
  std::atomic<std::int64_t> sum_ns{0};
  std::unique_ptr<Line[]> lines;

  std::atomic<std::uint64_t>& bucket(std::size_t i) const { return lines[i / 8].cells[i % 8]; }
};

Histogram::Histogram(std::vector<double> edges) : edges_(std::move(edges)), shards_(new Shard[shard_count()]) {
  for (std::size_t i = 0; i < shard_count(); ++i) shards_[i].lines.reset(new Shard::Line[edges_.size() / 8 + 1]);
}
Histogram::~Histogram() = default;

void Histogram::observe(decision::Duration value, std::uint64_t times) {
  const double seconds = decision::seconds(value);
  const auto bucket = std::lower_bound(edges_.begin(), edges_.end(), seconds) - edges_.begin();
  Shard& shard = shards_[shard_index()];
  shard.bucket(bucket).fetch_add(times, std::memory_order_relaxed);
  shard.sum_ns.fetch_add(value.count() * static_cast<std::int64_t>(times), std::memory_order_relaxed);
}

std::vector<std::uint64_t> Histogram::buckets() const {
  std::vector<std::uint64_t> counts(edges_.size() + 1);
  for (std::size_t s = 0; s < shard_count(); ++s) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      counts[i] += shards_[s].bucket(i).load(std::memory_order_relaxed);
    }
  }
  return counts;
}

std::uint64_t Histogram::count() const {
  std::uint64_t sum = 0;
  for (std::uint64_t bucket : buckets()) sum += bucket;
  return sum;
}

double Histogram::sum_seconds() const {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < shard_count(); ++i) sum += shards_[i].sum_ns.load(std::memory_order_relaxed);
  return static_cast<double>(sum) * 1e-9;
}

}  // namespace penstock
