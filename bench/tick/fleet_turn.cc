// One turn of the fleet's tests for causes: bench-fleet-turn NODES UPSTREAMS TROUBLED [TURNS]
// Each node streams new counters before each turn; TROUBLED of its upstreams are in trouble. Prints JSON, milliseconds.
#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "controller/loop/cause_tests.h"
#include "policy/convert.h"

namespace {

using namespace penstock;
using controller::CauseTests;
using controller::Streaming;
using std::chrono::milliseconds;

double cpu_ms() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

std::string name_of(int upstream) { return "upstream-" + std::to_string(upstream); }

// What a node with 10 calls a second to each upstream has counted after so many ticks of 100 ms.
std::shared_ptr<const v1::Counters> count(int tick, int upstreams, int troubled) {
  auto counters = std::make_shared<v1::Counters>();
  counters->mutable_start_time()->set_seconds(1);
  for (int i = 0; i < upstreams; ++i) {
    const bool slow = i < troubled && tick > 100;
    v1::UpstreamCounters& upstream = *counters->add_upstreams();
    upstream.set_upstream(name_of(i));
    const auto before = static_cast<std::uint64_t>(std::min(tick, 100));
    const auto after = static_cast<std::uint64_t>(tick) - before;
    upstream.set_attempts(before + after);
    upstream.set_ok(before + (slow ? after / 2 : after));
    upstream.set_timeouts(slow ? after / 2 : 0);
    upstream.set_in_flight(slow ? 20 : 1);
    *upstream.mutable_ok_latency() =
        policy::to_proto(milliseconds(50 * before + (slow ? 2000 * (after / 2) : 50 * after)));
    *upstream.mutable_mean_age() = policy::to_proto(milliseconds(slow ? 1000 : 25));
    *upstream.mutable_patience() = policy::to_proto(std::chrono::seconds(10));
    upstream.set_breaker(v1::BREAKER_STATE_CLOSED);
    upstream.set_cause_state("free");
    upstream.set_in_trouble(slow);
  }
  return counters;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int nodes = std::atoi(argv[1]);
  const int upstreams = std::atoi(argv[2]);
  const int troubled = std::atoi(argv[3]);
  const int turns = argc > 4 ? std::atoi(argv[4]) : 150;
  auto policy = std::make_shared<v1::Policy>();
  policy->mutable_metadata()->set_name("bench");
  policy->mutable_spec()->set_service("bench");
  for (int i = 0; i < upstreams; ++i) {
    v1::Upstream& upstream = *policy->mutable_spec()->add_upstreams();
    upstream.set_name(name_of(i));
    upstream.mutable_match()->add_hosts(name_of(i) + ".example.com");
  }
  std::vector<Streaming> streaming;
  for (int i = 0; i < nodes; ++i) {
    char name[16];
    std::snprintf(name, sizeof name, "node-%05d", i);
    streaming.push_back({{"bench", name}, true, policy, {}});
  }
  CauseTests tests;
  std::vector<double> cost;
  std::size_t told = 0;
  decision::Instant now{std::chrono::hours(1)};
  for (int turn = 1; turn <= turns; ++turn) {
    now += CauseTests::kTick;
    // As often as a fleet of this size is asked for counters.
    const int period = nodes * upstreams > 20'000 ? 5 : 1;
    for (int i = 0; i < nodes; ++i) {
      if ((turn + i) % period != 0 && streaming[static_cast<std::size_t>(i)].latest.counters != nullptr) continue;
      streaming[static_cast<std::size_t>(i)].latest = {count(turn, upstreams, troubled), now};
    }
    const double began = cpu_ms();
    const auto plan = tests.turn(streaming, now, now.time_since_epoch());
    const auto views = tests.views();
    cost.push_back(cpu_ms() - began);
    if (turn > 100) told += plan.leads.size();
  }
  // Of the trouble: the first hundred turns are all well.
  std::vector<double> trouble(cost.begin() + std::min<std::ptrdiff_t>(110, turns / 2), cost.end());
  std::ranges::sort(trouble);
  const double median = trouble[trouble.size() / 2];
  boost::json::object row{{"nodes", nodes},
                          {"upstreams", upstreams},
                          {"in_trouble", troubled},
                          {"turn_ms", median},
                          {"longest_turn_ms", trouble.back()},
                          {"limits_told", told}};
  std::puts(boost::json::serialize(row).c_str());
}
