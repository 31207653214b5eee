// What it costs to decide about a node's upstreams: bench-guard-tick UPSTREAMS TROUBLED
// Each upstream gets 20 calls a second that take 50 ms; after 60 s those in trouble answer every other call after 2 s,
// and the rest never. Time is simulated, and nothing else runs: the data are in the caches. Prints JSON: CPU time of
// all guards' ticks, in microseconds.
#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "bench/switch/nanoseconds.h"
#include "penstock/decision/upstream_guard.h"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using decision::Duration;
using decision::Instant;
using decision::UpstreamGuard;

constexpr auto kStep = 10ms;
constexpr auto kTrouble = 60s;
constexpr auto kMeasured = 70s;
constexpr auto kEnd = 90s;

struct Called {
  UpstreamGuard::Call call;
  Instant ends;
  bool answered;
  bool waits;
};

class Upstream {
 public:
  Upstream(const decision::UpstreamPolicy& policy, std::uint64_t seed) : guard_(policy, true, false, seed) {}

  void call(Duration latency, Instant now) {
    Called& made = calls_.emplace_back();
    const auto offered = guard_.offer(made.call, now + 5s, now, decided_);
    made.answered = latency <= 5s;
    made.ends = now + std::min<Duration>(latency, 5s);
    made.waits = offered.offer == UpstreamGuard::Offer::wait;
    if (offered.offer == UpstreamGuard::Offer::refused) calls_.pop_back();
  }

  void end_calls(Instant now) {
    for (auto it = calls_.begin(); it != calls_.end();) {
      if (it->waits ? !guard_.withdraw(it->call) : it->ends > now) {
        ++it;
        continue;
      }
      if (!it->waits) {
        guard_.end(it->call, it->answered ? decision::GuardedOutcome::ok : decision::GuardedOutcome::timeout, {}, now,
                   decided_);
      }
      it = calls_.erase(it);
    }
    decided_ = {};
  }

  void tick(Instant now) {
    guard_.tick({.now = now, .wall = now.time_since_epoch(), .bulkhead = 10'000, .may_test = false}, decided_);
    while (guard_.take_transition()) continue;
    while (guard_.take_decision()) continue;
  }

  std::size_t calls() const { return calls_.size(); }

 private:
  UpstreamGuard guard_;
  decision::Verdicts decided_;
  std::list<Called> calls_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int count = std::atoi(argv[1]);
  const int troubled = std::atoi(argv[2]);
  decision::UpstreamPolicy policy;
  policy.timeout = 5s;
  policy.breaker.error_ratio = 0.9;
  std::vector<std::unique_ptr<Upstream>> upstreams;
  for (int i = 0; i < count; ++i) {
    upstreams.push_back(std::make_unique<Upstream>(policy, static_cast<std::uint64_t>(i)));
  }
  const Instant began{1h};
  std::vector<double> cost;
  int step = 0;
  for (Instant now = began; now < began + kEnd; now += kStep, ++step) {
    for (int i = 0; i < count; ++i) {
      Upstream& upstream = *upstreams[static_cast<std::size_t>(i)];
      upstream.end_calls(now);
      if ((step + i) % 5 != 0) continue;
      Duration latency = 50ms;
      if (i < troubled && now >= began + kTrouble) latency = (step / 5) % 2 == 0 ? Duration(2s) : Duration(1h);
      upstream.call(latency, now);
    }
    if (step % 10 != 0) continue;
    const double before = bench::thread_nanoseconds();
    for (const auto& upstream : upstreams) upstream->tick(now);
    if (now >= began + kMeasured) cost.push_back((bench::thread_nanoseconds() - before) / 1e3);
  }
  std::size_t calls = 0;
  for (const auto& upstream : upstreams) calls += upstream->calls();
  std::ranges::sort(cost);
  std::puts(boost::json::serialize(boost::json::object{{"upstreams", count},
                                                       {"calls", calls},
                                                       {"tick_us", cost[cost.size() / 2]},
                                                       {"p99_tick_us", cost[cost.size() * 99 / 100]}})
                .c_str());
}
