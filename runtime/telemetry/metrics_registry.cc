#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>

#include "penstock/metrics.h"
#include "penstock/spin_lock.h"
#include "runtime/telemetry/process_metrics.h"
#include "runtime/telemetry/utf8.h"

namespace penstock {
namespace {

bool valid_name(std::string_view name, bool colons) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](unsigned char c) { return c < 128 && (std::isalnum(c) || c == '_' || (colons && c == ':')); });
}

// Empty when the labels are fine, otherwise what is wrong. Sorts them.
std::string check_labels(Labels& labels, bool histogram) {
  std::sort(labels.begin(), labels.end());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto& [name, value] = labels[i];
    if (!valid_name(name, false) || name.starts_with("__")) return "invalid label name \"" + name + "\"";
    if (histogram && name == "le") return "label \"le\" belongs to the histogram itself";
    if (i > 0 && labels[i - 1].first == name) return "label \"" + name + "\" is given twice";
    if (!telemetry::is_utf8(value)) return "the value of label \"" + name + "\" is not UTF-8";
  }
  return {};
}

// 2^(k/2) s from 1 ms to 64 s: the ages at which calls are judged (.25, .5, 1, 2, 4, 8 s) are among them.
std::vector<double> latency_edges() {
  std::vector<double> edges{0.001};
  for (int half = -19; half <= 12; ++half) {
    const double exact = std::exp2(half / 2.0);
    // Whole powers as they are, those between to four digits.
    const double digits = std::pow(10, 3 - std::floor(std::log10(exact)));
    edges.push_back(half % 2 == 0 ? exact : std::round(exact * digits) / digits);
  }
  return edges;
}

void fill(prometheus::ClientMetric& metric, const Counter& counter) { metric.counter.value = counter.value(); }
void fill(prometheus::ClientMetric& metric, const Gauge& gauge) { metric.gauge.value = gauge.value(); }
void fill(prometheus::ClientMetric& metric, const Histogram& histogram) {
  const std::vector<std::uint64_t> counts = histogram.buckets();
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i < histogram.edges().size(); ++i) {
    cumulative += counts[i];
    metric.histogram.bucket.push_back({cumulative, histogram.edges()[i]});
  }
  metric.histogram.sample_count = cumulative + counts.back();
  metric.histogram.bucket.push_back({metric.histogram.sample_count, INFINITY});
  metric.histogram.sample_sum = histogram.sum_seconds();
}

// The serializer escapes the values of labels, but not this.
std::string escaped_help(std::string_view help) {
  std::string escaped;
  for (char c : help) {
    if (c == '\\') {
      escaped += "\\\\";
    } else if (c == '\n') {
      escaped += "\\n";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::vector<prometheus::ClientMetric::Label> prometheus_labels(const Labels& labels) {
  std::vector<prometheus::ClientMetric::Label> result;
  for (const auto& [name, value] : labels) result.push_back({name, value});
  return result;
}

}  // namespace

struct MetricsRegistry::State {
  struct Family {
    prometheus::MetricType type;
    std::string help;
    std::map<Labels, std::unique_ptr<Counter>> counters;
    std::map<Labels, std::unique_ptr<Gauge>> gauges;
    std::map<Labels, std::unique_ptr<Histogram>> histograms;
    std::vector<std::function<void(const Emit&)>> collectors;
  };

  Family& family(std::string_view name, std::string_view help, prometheus::MetricType type) {
    auto found = families.find(name);
    if (found != families.end()) {
      if (found->second.type != type) {
        throw std::invalid_argument("metric \"" + std::string(name) + "\" is in use for another type");
      }
      return found->second;
    }
    if (!valid_name(name, true)) throw std::invalid_argument("invalid metric name \"" + std::string(name) + "\"");
    if (!telemetry::is_utf8(help))
      throw std::invalid_argument("the help of \"" + std::string(name) + "\" is not UTF-8");
    Family& made = families[std::string(name)];
    made.type = type;
    made.help = help;
    return made;
  }

  mutable SpinLock lock;
  std::map<std::string, Family, std::less<>> families;
  std::vector<double> edges = latency_edges();
};

MetricsRegistry::MetricsRegistry() : state_(new State) { telemetry::register_process_metrics(*this); }
MetricsRegistry::~MetricsRegistry() = default;

Counter& MetricsRegistry::counter(std::string_view name, std::string_view help, Labels labels) {
  if (std::string wrong = check_labels(labels, false); !wrong.empty()) throw std::invalid_argument(wrong);
  std::lock_guard guard(state_->lock);
  auto& slot = state_->family(name, help, prometheus::MetricType::Counter).counters[std::move(labels)];
  if (!slot) slot.reset(new Counter);
  return *slot;
}

Gauge& MetricsRegistry::gauge(std::string_view name, std::string_view help, Labels labels) {
  if (std::string wrong = check_labels(labels, false); !wrong.empty()) throw std::invalid_argument(wrong);
  std::lock_guard guard(state_->lock);
  auto& slot = state_->family(name, help, prometheus::MetricType::Gauge).gauges[std::move(labels)];
  if (!slot) slot.reset(new Gauge);
  return *slot;
}

Histogram& MetricsRegistry::histogram(std::string_view name, std::string_view help, Labels labels,
                                      std::vector<double> edges) {
  if (std::string wrong = check_labels(labels, true); !wrong.empty()) throw std::invalid_argument(wrong);
  for (std::size_t i = 0; i < edges.size(); ++i) {
    if (!std::isfinite(edges[i]) || (i > 0 && edges[i] <= edges[i - 1])) {
      throw std::invalid_argument("edges of histogram \"" + std::string(name) + "\" do not ascend");
    }
  }
  std::lock_guard guard(state_->lock);
  auto& slot = state_->family(name, help, prometheus::MetricType::Histogram).histograms[std::move(labels)];
  if (!slot) slot.reset(new Histogram(edges.empty() ? state_->edges : std::move(edges)));
  return *slot;
}

void MetricsRegistry::add_latency_edges(const std::vector<double>& seconds) {
  std::lock_guard guard(state_->lock);
  for (double edge : seconds) {
    if (!std::isfinite(edge) || edge <= 0) throw std::invalid_argument("an edge of a histogram is not positive");
    auto at = std::lower_bound(state_->edges.begin(), state_->edges.end(), edge);
    if (at == state_->edges.end() || *at != edge) state_->edges.insert(at, edge);
  }
}

void MetricsRegistry::collect(std::string_view name, std::string_view help, std::string_view type,
                              std::function<void(const Emit&)> collect) {
  if (type != "counter" && type != "gauge") {
    throw std::invalid_argument("type \"" + std::string(type) + "\" is neither counter nor gauge");
  }
  std::lock_guard guard(state_->lock);
  const auto as = type == "counter" ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  state_->family(name, help, as).collectors.push_back(std::move(collect));
}

double MetricsRegistry::total(std::string_view counter, const Labels& including) const {
  const std::lock_guard guard(state_->lock);
  const auto family = state_->families.find(counter);
  if (family == state_->families.end()) return 0;
  double sum = 0;
  for (const auto& [labels, value] : family->second.counters) {
    const auto has = [&labels = labels](const auto& label) {
      return std::find(labels.begin(), labels.end(), label) != labels.end();
    };
    if (std::all_of(including.begin(), including.end(), has)) sum += value->value();
  }
  return sum;
}

std::string MetricsRegistry::text() const {
  std::vector<prometheus::MetricFamily> families;
  // Collectors take locks of their own: called without ours.
  std::vector<std::vector<std::function<void(const Emit&)>>> collectors;
  {
    std::lock_guard guard(state_->lock);
    for (const auto& [name, family] : state_->families) {
      prometheus::MetricFamily& out = families.emplace_back();
      out.name = name;
      out.help = escaped_help(family.help);
      out.type = family.type;
      const auto add = [&](const auto& metrics) {
        for (const auto& [labels, metric] : metrics) {
          prometheus::ClientMetric& sample = out.metric.emplace_back();
          sample.label = prometheus_labels(labels);
          fill(sample, *metric);
        }
      };
      add(family.counters);
      add(family.gauges);
      add(family.histograms);
      collectors.push_back(family.collectors);
    }
  }
  for (std::size_t i = 0; i < families.size(); ++i) {
    for (const auto& collect : collectors[i]) {
      collect([&](Labels labels, double value) {
        if (!check_labels(labels, false).empty()) return;
        prometheus::ClientMetric& sample = families[i].metric.emplace_back();
        sample.label = prometheus_labels(labels);
        (families[i].type == prometheus::MetricType::Counter ? sample.counter.value : sample.gauge.value) = value;
      });
    }
  }
  std::erase_if(families, [](const prometheus::MetricFamily& family) { return family.metric.empty(); });
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return std::move(text).str();
}

}  // namespace penstock
