#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/decision/time.h"

// Metrics of the process, scraped by Prometheus. Hot counters and histograms are kept per scheduler thread and merged
// at the scrape. Names and labels follow Prometheus's conventions; the caller bounds the values of labels.
namespace penstock {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  // Thread-safe, lock-free. Throws std::invalid_argument for a negative value.
  void add(double value = 1);
  double value() const;

 private:
  friend class MetricsRegistry;
  Counter();
  struct Shard;
  std::unique_ptr<Shard[]> shards_;

 public:
  ~Counter();
};

class Gauge {
 public:
  // Thread-safe.
  void set(double value);
  void add(double value);
  double value() const;

 private:
  friend class MetricsRegistry;
  Gauge();
  struct Cell;
  std::unique_ptr<Cell> cell_;

 public:
  ~Gauge();
};

class Histogram {
 public:
  // Thread-safe, wait-free. Seconds are what Prometheus sees.
  void observe(decision::Duration value, std::uint64_t times = 1);
  std::uint64_t count() const;
  double sum_seconds() const;
  // Upper edges in seconds, inclusive, and how many values fell in each bucket and above the last edge.
  const std::vector<double>& edges() const { return edges_; }
  std::vector<std::uint64_t> buckets() const;

 private:
  friend class MetricsRegistry;
  explicit Histogram(std::vector<double> edges);
  struct Shard;
  struct Ladder;
  std::vector<double> edges_;
  std::unique_ptr<const Ladder> ladder_;
  std::unique_ptr<Shard[]> shards_;

 public:
  ~Histogram();
};

// Thread-safe. What it returns lives as long as it does; asking again for the same name and labels gives the same
// object. Throws std::invalid_argument for a name or label that Prometheus would refuse, and for a name that is already
// in use for another type.
class MetricsRegistry {
 public:
  MetricsRegistry();
  ~MetricsRegistry();
  MetricsRegistry(const MetricsRegistry&) = delete;

  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  // `edges` in seconds, ascending; empty: factor sqrt(2) from 1 ms to 64 s, whole powers of two exact, and what
  // add_latency_edges() added before.
  Histogram& histogram(std::string_view name, std::string_view help, Labels labels = {},
                       std::vector<double> edges = {});
  // Thresholds in seconds at which histograms with default edges that are made from now on have an exact edge.
  void add_latency_edges(const std::vector<double>& seconds);
  // Adds samples at every scrape. `type` is "counter" or "gauge". `collect` is called from the scraping fiber;
  // a sample with a malformed label is left out.
  using Emit = std::function<void(Labels labels, double value)>;
  void collect(std::string_view name, std::string_view help, std::string_view type,
               std::function<void(const Emit&)> collect);

  // The sum of a counter over all of its labels that include these; 0 when there is none of that name.
  double total(std::string_view counter, const Labels& including = {}) const;

  // Prometheus text format 0.0.4.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock
