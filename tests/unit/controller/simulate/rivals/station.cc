#include "tests/unit/controller/simulate/rivals/station.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

#include "controller/simulate/random.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

struct Job {
  double ends;
  double began;
  int besides;
  bool operator>(const Job& other) const { return ends > other.ends; }
};
template <typename T>
using Soonest = std::priority_queue<T, std::vector<T>, std::greater<T>>;

}  // namespace

Driven drive(Limiter& limiter, const Station& station, double rate, double seconds) {
  Random random(1, "station");
  Soonest<Job> jobs;
  Soonest<double> free;
  for (int i = 0; i < station.servers; ++i) free.push(0);
  Driven driven;
  double next = 0.001;
  double tick = 0.1;
  int ticks = 0;
  int ended = 0;
  const double half = seconds / 2;
  const auto in_flight = [&] { return static_cast<int>(jobs.size()); };
  while (true) {
    const double end_of_job = jobs.empty() ? 1e18 : jobs.top().ends;
    const double now = std::min({next, tick, end_of_job});
    if (now >= seconds) break;
    const bool counts = now >= half;
    if (now == end_of_job) {
      const Job job = jobs.top();
      jobs.pop();
      end(limiter, {.from = job.began, .to = now, .besides = job.besides});
      if (counts) {
        ++ended;
        driven.latency += now - job.began;
      }
    } else if (now == tick) {
      limiter.tick(at(now), {.cpu_busy = 0, .runnable_per_core = 0, .run_delay = {}, .in_flight = in_flight()});
      tick += 0.1;
      if (counts) {
        ++ticks;
        driven.limit += limiter.limit().value_or(0);
        driven.in_flight += in_flight();
      }
    } else {
      next = now + random.exponential(1 / rate);
      driven.offered += counts ? 1 : 0;
      if (!let_in(limiter, now, random.uniform())) continue;
      driven.admitted += counts ? 1 : 0;
      const double mean = now >= station.later_from ? station.later_service : station.service;
      const double service = random.log_normal(mean, station.sigma);
      double starts = now;
      if (station.servers > 0) {
        starts = std::max(now, free.top());
        free.pop();
        free.push(starts + service);
      }
      jobs.push({.ends = starts + service, .began = now, .besides = in_flight()});
    }
  }
  driven.latency /= std::max(1, ended);
  driven.throughput = ended / half;
  driven.admitted /= half;
  driven.offered /= half;
  driven.limit /= std::max(1, ticks);
  driven.in_flight /= std::max(1, ticks);
  return driven;
}

}  // namespace penstock::simulate
