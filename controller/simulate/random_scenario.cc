#include "controller/simulate/random_scenario.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "controller/simulate/random.h"

namespace penstock::simulate {
namespace {

// "L" is uniform in the logarithm.
//   load        users a second          L 50 to 1000, but no more than keeps 60 % of the CPU busy
//               bursts                  30 %: one, factor L 2 to 10, 1 to 20 s
//   users       patience                L 4 to 20 s
//               refresh, retry          0 to 80 % of them each
//   nodes       2 to 20 (L) of 4, 8 or 16 cores, memory L 512 MiB to 4 GiB
//   pages       2 to 4, of unequal shares, 1 to 4 calls, CPU L 1 to 10 ms, 20 %: 1 or 2 retries
//   upstreams   2 to 5, latency L 10 to 500 ms, spread 0.1 to 0.8
//   monitoring  scrapes every 1, 5 or 15 s; 15 %: an outage of controller, Prometheus or stream
//   trouble     of one upstream, 30 %: of a second one; from 40-60 s to 140-180 s, of one of the kinds below; 25 %: on
//   for
//               L 1 to 40 s and off for L 1 to 40 s
//     slow      latency L 0.3 to 30 s, 30 %: for a share of 20 to 90 %; 30 %: moves there in 5 to 60 s; 15 %: swings
//     failing   10 to 100 % errors
//     silent    10 to 100 % without answer
//     full      servers for 30 to 130 % of the demand; 30 %: a queue of L 5 to 500; 40 %: thrashes, collapse L 0.05 to
//     2;
//               30 %: does not work on calls that were given up; 20 %: others ask for half of it as well
//     limited   429 above 30 to 130 % of the demand, 50 %: with Retry-After
//     jittery   spread 1 to 2
class Drawing {
 public:
  explicit Drawing(std::uint64_t seed) : seed_(seed), random_(seed, "a scenario") {}

  std::string draw() {
    nodes_ = whole(logarithmic(2, 20.99));
    cores_ = 4 << random_.below(3);
    patience_ = logarithmic(4, 20);
    upstreams();
    pages();
    double cpu = 0;
    for (const Page& page : pages_) cpu += page.share * page.cpu;
    rate_ = std::min(logarithmic(50, 1000), 0.6 * nodes_ * cores_ / cpu);
    trouble();

    std::string text = "kind: Scenario\nname: random-" + std::to_string(seed_) + "\nabout: Drawn from ranges.\n";
    text += "duration: 220s\n";
    load(text);
    const double refresh = uniform(0, 0.8);
    const double retry = uniform(0, 0.8);
    text += format("users: {patience: %s, refreshAfter: %s, refreshShare: %.2f, retryShare: %.2f}\n",
                   duration(patience_).c_str(), duration(0.4 * patience_).c_str(), refresh, retry);
    text += format("nodes: {count: %d, cores: %d, memory: %dMiB}\n", nodes_, cores_, whole(logarithmic(512, 4096)));
    monitoring(text);
    text += "pages:\n";
    for (const Page& page : pages_) text += page.text;
    text += "upstreams:\n";
    for (const Upstream& upstream : upstreams_) {
      text += format("  - name: %c\n    latency: %s\n    spread: %.2f\n", upstream.name,
                     duration(upstream.latency).c_str(), upstream.spread);
      if (!upstream.episode.empty()) text += "    episodes:\n      - {" + upstream.episode + "}\n";
    }
    return text;
  }

 private:
  struct Upstream {
    char name;
    double latency;
    double spread;
    std::string episode;
  };
  struct Page {
    double share;
    double cpu;
    std::vector<std::size_t> calls;
    std::string text;
  };

  template <class... Values>
  static std::string format(const char* pattern, Values... values) {
    char text[400];
    std::snprintf(text, sizeof text, pattern, values...);
    return text;
  }
  static std::string duration(double seconds) { return format("%.0fms", std::max(1.0, seconds * 1e3)); }
  static int whole(double value) { return static_cast<int>(value); }
  double uniform(double low, double high) { return random_.uniform(low, high); }
  double logarithmic(double low, double high) { return std::exp(uniform(std::log(low), std::log(high))); }
  bool chance(double p) { return random_.chance(p); }

  void upstreams() {
    const std::uint32_t count = 2 + random_.below(4);
    for (std::uint32_t i = 0; i < count; ++i) {
      upstreams_.push_back({static_cast<char>('A' + i), logarithmic(0.01, 0.5), uniform(0.1, 0.8), {}});
    }
  }

  void pages() {
    const std::uint32_t count = 2 + random_.below(3);
    double sum = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      Page page{uniform(0.1, 1), logarithmic(0.001, 0.01), {}, {}};
      const std::uint32_t calls = 1 + random_.below(4);
      for (std::uint32_t k = 0; k < calls; ++k) {
        page.calls.push_back(random_.below(static_cast<std::uint32_t>(upstreams_.size())));
      }
      // What is in trouble is called by somebody.
      if (i == 0) page.calls[0] = 0;
      sum += page.share;
      pages_.push_back(std::move(page));
    }
    for (std::size_t i = 0; i < pages_.size(); ++i) {
      Page& page = pages_[i];
      page.share /= sum;
      page.text = format("  - {name: page-%zu, share: %.3f, cpu: %.0fus, retries: %d, calls: [", i, page.share,
                         page.cpu * 1e6, chance(0.2) ? 1 + whole(uniform(0, 2)) : 0);
      for (std::size_t k = 0; k < page.calls.size(); ++k) {
        page.text += format("%s%c", k > 0 ? ", " : "", upstreams_[page.calls[k]].name);
      }
      page.text += "]}\n";
    }
  }

  void load(std::string& text) {
    text += format("load:\n  rate: %.0f\n", std::max(1.0, rate_));
    if (!chance(0.3)) return;
    const double from = uniform(30, 180);
    text += format("  bursts: [{from: %s, to: %s, factor: %.1f}]\n", duration(from).c_str(),
                   duration(from + uniform(1, 20)).c_str(), logarithmic(2, 10));
  }

  void monitoring(std::string& text) {
    constexpr int kIntervals[] = {1, 5, 15};
    text += format("monitoring: {scrapeInterval: %ds}\n", kIntervals[random_.below(3)]);
    if (!chance(0.15)) return;
    constexpr const char* kWhat[] = {"controller", "prometheus", "stream"};
    const double from = uniform(20, 120);
    text += format("outages:\n  %s: [{from: %s, to: %s}]\n", kWhat[random_.below(3)], duration(from).c_str(),
                   duration(from + uniform(5, 90)).c_str());
  }

  // Calls a second to it on a normal day.
  double demand(std::size_t upstream) const {
    double calls = 0;
    for (const Page& page : pages_) {
      calls += page.share * static_cast<double>(std::ranges::count(page.calls, upstream));
    }
    return rate_ * calls;
  }

  void trouble() {
    episode(0);
    if (chance(0.3)) episode(1 + random_.below(static_cast<std::uint32_t>(upstreams_.size() - 1)));
  }

  void episode(std::size_t index) {
    Upstream& upstream = upstreams_[index];
    std::string& text = upstream.episode;
    // What is drawn is drawn before it is printed: arguments have no order of their own.
    const double from = uniform(40, 60);
    const double to = uniform(140, 180);
    text = format("from: %s, to: %s", duration(from).c_str(), duration(to).c_str());
    switch (random_.below(6)) {
      case 0: {
        const double latency = logarithmic(0.3, 30);
        const bool all = !chance(0.3);
        text += format(", latency: %s", duration(latency).c_str());
        if (!all) text += format(", share: %.2f", uniform(0.2, 0.9));
        if (chance(0.3)) text += format(", ramp: %s", duration(uniform(5, 60)).c_str());
        if (chance(0.15)) text += format(", swing: %s", duration(uniform(5, 60)).c_str());
        if (all && latency > patience_) text += ", truth: dead";
        break;
      }
      case 1:
        text += format(", errorRatio: %.2f", uniform(0.1, 1));
        break;
      case 2:
        text += format(", silentRatio: %.2f", uniform(0.1, 1));
        break;
      case 3: {
        const double mean = upstream.latency * std::exp(upstream.spread * upstream.spread / 2);
        const double wanted = demand(index) * uniform(0.3, 1.3);
        const bool shared = chance(0.2);
        const double servers = std::max(1.0, std::round(wanted * mean * (shared ? 1.5 : 1)));
        text += format(", capacity: {servers: %.0f", servers);
        if (chance(0.3)) text += format(", queue: %.0f", logarithmic(5, 500));
        if (chance(0.4)) text += format(", collapse: %.2f", logarithmic(0.05, 2));
        if (chance(0.3)) text += ", worksOnAbandoned: false";
        if (shared) text += format(", othersRate: %.1f", 0.5 * wanted);
        text += "}";
        break;
      }
      case 4: {
        const double limit = std::max(1.0, demand(index) * uniform(0.3, 1.3));
        text += format(", rateLimit: {rate: %.1f%s}", limit, chance(0.5) ? ", retryAfter: 0s" : "");
        break;
      }
      case 5:
        text += format(", spread: %.2f", uniform(1, 2));
        break;
    }
    if (chance(0.25)) {
      const double on = logarithmic(1, 40);
      const double off = logarithmic(1, 40);
      text += format(", on: %s, off: %s", duration(on).c_str(), duration(off).c_str());
    }
  }

  const std::uint64_t seed_;
  Random random_;
  int nodes_ = 2;
  int cores_ = 8;
  double patience_ = 10;
  double rate_ = 300;
  std::vector<Upstream> upstreams_;
  std::vector<Page> pages_;
};

}  // namespace

std::string random_scenario(std::uint64_t seed) { return Drawing(seed).draw(); }

}  // namespace penstock::simulate
