#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "penstock/metrics.h"
#include "tests/unit/runtime/promtool.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

TEST(MetricsRegistry, TheSameNameAndLabelsAreTheSameMetric) {
  MetricsRegistry metrics;
  Counter& a = metrics.counter("app_calls_total", "Calls.", {{"x", "1"}, {"y", "2"}});
  Counter& b = metrics.counter("app_calls_total", "Calls.", {{"y", "2"}, {"x", "1"}});
  Counter& c = metrics.counter("app_calls_total", "Calls.", {{"x", "2"}, {"y", "2"}});
  EXPECT_EQ(&a, &b);
  EXPECT_NE(&a, &c);
  a.add(2);
  b.add(0.5);
  EXPECT_THAT(metrics.text(), HasSubstr("app_calls_total{x=\"1\",y=\"2\"} 2.5\n"));
}

TEST(MetricsRegistry, RefusesWhatPrometheusWouldRefuse) {
  MetricsRegistry metrics;
  metrics.counter("app_calls_total", "Calls.");
  EXPECT_THROW(metrics.gauge("app_calls_total", "Calls."), std::invalid_argument);
  EXPECT_THROW(metrics.counter("app calls", ""), std::invalid_argument);
  EXPECT_THROW(metrics.counter("1app", ""), std::invalid_argument);
  EXPECT_THROW(metrics.counter("", ""), std::invalid_argument);
  EXPECT_THROW(metrics.counter("app_total", "", {{"a-b", "1"}}), std::invalid_argument);
  EXPECT_THROW(metrics.counter("app_total", "", {{"__name__", "1"}}), std::invalid_argument);
  EXPECT_THROW(metrics.counter("app_total", "", {{"a", "1"}, {"a", "2"}}), std::invalid_argument);
  EXPECT_THROW(metrics.counter("app_total", "", {{"a", "\xff"}}), std::invalid_argument);
  EXPECT_THROW(metrics.histogram("app_seconds", "", {{"le", "1"}}), std::invalid_argument);
  EXPECT_THROW(metrics.histogram("app_seconds", "", {}, {2, 1}), std::invalid_argument);
  EXPECT_THROW(metrics.collect("app_other", "", "summary", {}), std::invalid_argument);
  EXPECT_THROW(metrics.counter("app_calls_total", "").add(-1), std::invalid_argument);
  EXPECT_THAT(metrics.text(), Not(HasSubstr("app_total")));
}

TEST(MetricsRegistry, GaugesShowTheirLastValue) {
  MetricsRegistry metrics;
  Gauge& gauge = metrics.gauge("app_size", "Size.");
  gauge.set(4);
  gauge.add(-1.5);
  EXPECT_THAT(metrics.text(), HasSubstr("\n# TYPE app_size gauge\napp_size 2.5\n"));
}

TEST(MetricsRegistry, BucketsAreCumulativeAndTheirEdgesInclusive) {
  MetricsRegistry metrics;
  Histogram& histogram = metrics.histogram("app_seconds", "Time.", {}, {0.1, 1});
  for (auto value : {50ms, 100ms, 500ms, 1000ms, 2000ms}) histogram.observe(value);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("app_seconds_bucket{le=\"0.1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("app_seconds_bucket{le=\"1\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("app_seconds_bucket{le=\"+Inf\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("app_seconds_count 5\n"));
  EXPECT_NEAR(histogram.sum_seconds(), 3.65, 1e-9);
}

TEST(MetricsRegistry, DefaultEdgesGoByTheSquareRootOfTwoAndTakeInThresholds) {
  MetricsRegistry metrics;
  const std::vector<double> before = metrics.histogram("before_seconds", "Time.").edges();
  EXPECT_EQ(before.front(), 0.001);
  EXPECT_EQ(before.back(), 64);
  for (double age : {0.25, 0.5, 1.0, 2.0, 4.0, 8.0}) EXPECT_THAT(before, testing::Contains(age));
  for (std::size_t i = 2; i < before.size(); ++i) EXPECT_NEAR(before[i] / before[i - 1], std::sqrt(2), 0.001);
  metrics.add_latency_edges({3, 2, 120});
  std::vector<double> wanted = before;
  wanted.insert(std::upper_bound(wanted.begin(), wanted.end(), 3), 3);
  wanted.push_back(120);
  EXPECT_EQ(metrics.histogram("after_seconds", "Time.").edges(), wanted);
  EXPECT_EQ(metrics.histogram("before_seconds", "Time.").edges(), before);
}

TEST(MetricsRegistry, NothingIsLostWhenThreadsCountAtOnce) {
  MetricsRegistry metrics;
  Counter& counter = metrics.counter("app_calls_total", "Calls.");
  Histogram& histogram = metrics.histogram("app_seconds", "Time.");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) {
        counter.add();
        histogram.observe(std::chrono::milliseconds(i % 100));
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(metrics.text().empty());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 80000);
  EXPECT_EQ(histogram.count(), 80000u);
}

TEST(MetricsRegistry, CollectorsAreAskedAtEveryScrape) {
  MetricsRegistry metrics;
  double value = 1;
  metrics.collect("app_queue_length", "Queue.", "gauge", [&](const MetricsRegistry::Emit& emit) {
    emit({{"queue", "a"}}, value);
    emit({{"not valid", "b"}}, 7);
    // May use the registry itself.
    metrics.gauge("app_scraped", "Scraped.").add(1);
  });
  EXPECT_THAT(metrics.text(), HasSubstr("app_queue_length{queue=\"a\"} 1\n"));
  value = 2;
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("app_queue_length{queue=\"a\"} 2\n"));
  EXPECT_THAT(text, Not(HasSubstr("not valid")));
  EXPECT_THAT(text, HasSubstr("app_scraped 1\n"));
}

TEST(MetricsRegistry, PromtoolFindsNothingToSay) {
  if (!promtool_installed()) GTEST_SKIP() << "promtool is not installed";
  MetricsRegistry metrics;
  metrics
      .counter("app_calls_total", "Calls with \"quotes\", back\\slashes and\nlines.",
               {{"path", "a\"b\\c\nd"}, {"name", "gr\xc3\xbc\xc3\x9f"}})
      .add(3);
  metrics.gauge("app_temperature_celsius", "Temperature.").set(-3.5e-7);
  metrics.histogram("app_request_duration_seconds", "Time.", {{"route", "/x"}}).observe(20ms);
  metrics.collect("app_queue_length", "Queue.", "gauge", [](const auto& emit) { emit({{"queue", "a"}}, NAN); });

  EXPECT_EQ(promtool_says(metrics.text()), "");
}

}  // namespace
}  // namespace penstock
