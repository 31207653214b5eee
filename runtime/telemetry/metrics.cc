#include "penstock/metrics.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <utility>

#include "runtime/telemetry/shards.h"

namespace penstock {

using telemetry::kApart;
using telemetry::kCacheLine;
using telemetry::shard;
using telemetry::shard_count;

namespace {

template <class T>
void add_to(std::atomic<T>& cell, T value, bool own) {
  if (own) {
    cell.store(cell.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  } else {
    cell.fetch_add(value, std::memory_order_relaxed);
  }
}

}  // namespace

struct alignas(kApart) Counter::Shard {
  std::atomic<double> value{0};
};

Counter::Counter() : shards_(new Shard[shard_count()]) {}
Counter::~Counter() = default;

void Counter::add(double value) {
  if (!(value >= 0)) throw std::invalid_argument("a counter does not decrease");
  const auto [index, own] = shard();
  add_to(shards_[index].value, value, own);
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
struct alignas(kApart) Histogram::Shard {
  struct alignas(kCacheLine) Line {
    std::atomic<std::uint64_t> cells[kCacheLine / sizeof(std::uint64_t)]{};
  };
  std::atomic<std::int64_t> sum_ns{0};
  std::unique_ptr<Line[]> lines;

  std::atomic<std::uint64_t>& bucket(std::size_t i) const { return lines[i / 8].cells[i % 8]; }
};

// Finds the bucket of a value without floating point: from the first edge that its highest bit can fall under.
struct Histogram::Ladder {
  explicit Ladder(const std::vector<double>& edges) {
    for (double edge : edges) nanoseconds.push_back(highest_within(edge));
    nanoseconds.push_back(std::numeric_limits<std::int64_t>::max());
    for (std::size_t bits = 0; bits < first.size(); ++bits) {
      const std::int64_t least = bits == 0 ? 0 : std::int64_t{1} << (bits - 1);
      first[bits] = find_from(0, least);
    }
  }

  std::size_t find(std::int64_t value) const {
    return value < 0 ? find_from(0, value) : find_from(first[std::bit_width(static_cast<std::uint64_t>(value))], value);
  }

 private:
  // The longest duration that is not above the edge.
  static std::int64_t highest_within(double edge) {
    constexpr double kReach = 9e9;
    if (std::abs(edge) > kReach) {
      return edge > 0 ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
    }
    std::int64_t value = std::llround(edge * 1e9);
    while (decision::seconds(decision::Duration(value)) > edge) --value;
    while (decision::seconds(decision::Duration(value + 1)) <= edge) ++value;
    return value;
  }
  std::size_t find_from(std::size_t i, std::int64_t value) const {
    while (nanoseconds[i] < value) ++i;
    return i;
  }

  std::vector<std::int64_t> nanoseconds;
  std::array<std::size_t, 64> first{};
};

Histogram::Histogram(std::vector<double> edges)
    : edges_(std::move(edges)), ladder_(new Ladder(edges_)), shards_(new Shard[shard_count()]) {
  for (std::size_t i = 0; i < shard_count(); ++i) shards_[i].lines.reset(new Shard::Line[edges_.size() / 8 + 1]);
}
Histogram::~Histogram() = default;

void Histogram::observe(decision::Duration value, std::uint64_t times) {
  const auto [index, own] = shard();
  const Shard& mine = shards_[index];
  add_to(mine.bucket(ladder_->find(value.count())), times, own);
  add_to(shards_[index].sum_ns, std::int64_t{value.count()} * static_cast<std::int64_t>(times), own);
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
