#include "controller/simulate/upstream.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "controller/simulate/events.h"
#include "controller/simulate/random.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;

// Calls that come by a Poisson process, whatever the answers are.
class Stream : public Actor, public Caller {
 public:
  Stream(Events& events, Upstream& upstream, double rate) : events_(events), upstream_(upstream), rate_(rate) {
    next();
  }
  void happen(std::uint8_t, std::uint32_t) override {
    const std::uint32_t id = number_++;
    begun_[id] = events_.now();
    jobs_[id] = upstream_.call(*this, id, 0s);
    next();
  }
  void answered(std::uint32_t id, Fate fate, Instant) override {
    ++fates[fate];
    if (fate == Fate::ok) latency += decision::seconds(events_.now() - begun_[id]);
    begun_.erase(id);
    jobs_.erase(id);
  }
  void abandon_all() {
    for (const auto& [id, job] : jobs_) upstream_.abandon(job);
    jobs_.clear();
  }
  double mean_latency() { return latency / static_cast<double>(fates[Fate::ok]); }
  std::int64_t asked() const { return number_; }

  std::map<Fate, std::int64_t> fates;
  double latency = 0;

 private:
  void next() { events_.after(random_.exponential(decision::from_seconds(1 / rate_)), *this, 0, 0); }

  Events& events_;
  Upstream& upstream_;
  const double rate_;
  Random random_{11, "stream"};
  std::uint32_t number_ = 0;
  std::map<std::uint32_t, Instant> begun_;
  std::map<std::uint32_t, Upstream::Job> jobs_;
};

UpstreamModel model(Duration latency, double spread) {
  UpstreamModel made;
  made.name = "A";
  made.latency = latency;
  made.spread = spread;
  return made;
}

// Mean of a log-normal of that median.
double mean(double median, double sigma) { return median * std::exp(sigma * sigma / 2); }

double erlang_b(int servers, double load) {
  double blocked = 1;
  for (int n = 1; n <= servers; ++n) blocked = load * blocked / (n + load * blocked);
  return blocked;
}

// A. K. Erlang's loss formula holds for every distribution of the service time.
TEST(Upstream, ServersWithoutAQueueRefuseAsErlangSays) {
  UpstreamModel a = model(100ms, 0.8);
  a.capacity = Capacity{.servers = 10, .queue = 0};
  Events events;
  Upstream upstream(a, 1h, events, 3);
  constexpr double kRate = 90;
  Stream stream(events, upstream, kRate);
  events.run(at(2000s));
  const double refused = static_cast<double>(stream.fates[Fate::refused]) / static_cast<double>(stream.asked());
  EXPECT_NEAR(refused, erlang_b(10, kRate * mean(0.1, 0.8)), 0.01);
}

// F. Pollaczek's and A. Khinchine's formula: mean wait = rate E[S^2] / (2 (1 - rho)).
TEST(Upstream, OneServerMakesCallsWaitAsPollaczekAndKhinchineSay) {
  constexpr double kSigma = 0.6;
  UpstreamModel a = model(20ms, kSigma);
  a.capacity = Capacity{.servers = 1};
  Events events;
  Upstream upstream(a, 1h, events, 5);
  const double service = mean(0.02, kSigma);
  const double square = 0.02 * 0.02 * std::exp(2 * kSigma * kSigma);
  constexpr double kLoad = 0.7;
  const double rate = kLoad / service;
  Stream stream(events, upstream, rate);
  events.run(at(5000s));
  const double expected = service + rate * square / (2 * (1 - kLoad));
  EXPECT_NEAR(stream.mean_latency(), expected, 0.04 * expected);
}

// L. Kleinrock's law of processor sharing: the mean time in the system is s / (1 - rho), whatever the distribution.
TEST(Upstream, SharedServersSlowEachOtherDownByTheirShare) {
  UpstreamModel a = model(20ms, 0.5);
  a.capacity = Capacity{.servers = 1, .collapse = 1e-12};
  Events events;
  Upstream upstream(a, 1h, events, 5);
  const double service = mean(0.02, 0.5);
  constexpr double kLoad = 0.7;
  Stream stream(events, upstream, kLoad / service);
  events.run(at(3000s));
  EXPECT_NEAR(stream.mean_latency(), service / (1 - kLoad), 0.05 * service / (1 - kLoad));
}

TEST(Upstream, AQueueThatOutgrowsItsServersNeverEnds) {
  UpstreamModel a = model(100ms, 0.3);
  a.capacity = Capacity{.servers = 5};
  Events events;
  Upstream upstream(a, 1h, events, 5);
  Stream stream(events, upstream, 100);
  events.run(at(100s));
  EXPECT_NEAR(static_cast<double>(stream.fates[Fate::ok]), 100 * 5 / mean(0.1, 0.3), 150);
  EXPECT_GT(upstream.in_flight(), 4500);
}

TEST(Upstream, CallsThatWereGivenUpStillHoldTheirServers) {
  UpstreamModel a = model(1s, 0);
  a.capacity = Capacity{.servers = 2};
  for (const bool works_on_abandoned : {true, false}) {
    a.capacity->works_on_abandoned = works_on_abandoned;
    Events events;
    Upstream upstream(a, 1h, events, 5);
    Stream stream(events, upstream, 100);
    events.run(at(1s));
    stream.abandon_all();
    const auto before = stream.fates[Fate::ok];
    events.run(at(10s));
    // Two a second; those of the first second were some hundred.
    EXPECT_EQ(stream.fates[Fate::ok] > before, !works_on_abandoned);
  }
}

TEST(Upstream, EpisodesComeAndGo) {
  UpstreamModel a = model(10ms, 0);
  Episode slow;
  slow.window = {10s, 20s};
  slow.latency = 1s;
  Episode silent;
  silent.window = {30s, 40s};
  silent.silent_ratio = 1;
  Episode limited;
  limited.window = {50s, 60s};
  limited.rate_limit = RateLimit{10, 10, 1s};
  a.episodes = {slow, silent, limited};
  Events events;
  Upstream upstream(a, 100s, events, 5);
  Stream stream(events, upstream, 50);
  const auto answers_between = [&](Duration from, Duration to) {
    events.run(at(from));
    stream.fates.clear();
    stream.latency = 0;
    events.run(at(to));
    return stream.fates[Fate::ok];
  };
  EXPECT_NEAR(static_cast<double>(answers_between(1s, 9s)), 400, 60);
  EXPECT_NEAR(stream.mean_latency(), 0.01, 1e-6);
  EXPECT_GT(answers_between(12s, 19s), 0);
  EXPECT_NEAR(stream.mean_latency(), 1, 1e-6);
  EXPECT_EQ(answers_between(31s, 39s), 0);
  EXPECT_NEAR(static_cast<double>(answers_between(52s, 59s)), 70, 15);
  EXPECT_GT(stream.fates[Fate::refused], 200);
}

}  // namespace
}  // namespace penstock::simulate
