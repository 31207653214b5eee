// What recorded weeks cost a controller: bench-history-turn NODES UPSTREAMS. Four weeks of each upstream are known;
// then an hour is over, what is usual is worked out anew, and all nodes are told that all of it moved. Prints JSON,
// milliseconds.
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>

#include "controller/fleet/fleet.h"
#include "controller/loop/recollection.h"

namespace {

using namespace penstock;
using std::chrono::hours;

double cpu_ms() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

std::string name_of(int upstream) { return "upstream-" + std::to_string(upstream); }

// One hour of each upstream, answered in so many seconds.
controller::History hour_of(std::chrono::system_clock::time_point begin, int upstreams, double latency) {
  controller::History history;
  for (int i = 0; i < upstreams; ++i)
    history.upstreams[{"bench", name_of(i)}].push_back({begin, 100, latency * (1 + 0.001 * (i % 7))});
  return history;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int nodes = std::atoi(argv[1]);
  const int upstreams = std::atoi(argv[2]);
  controller::Clock& clock = controller::system_clock();
  controller::Fleet fleet(clock);
  auto policy = std::make_shared<v1::Policy>();
  policy->mutable_metadata()->set_name("bench");
  policy->mutable_spec()->set_service("bench");
  for (int i = 0; i < upstreams; ++i) policy->mutable_spec()->add_upstreams()->set_name(name_of(i));
  fleet.set_policy(policy);
  std::size_t waked = 0;
  for (int i = 0; i < nodes; ++i) {
    v1::Hello hello;
    hello.set_service("bench");
    hello.set_node("node-" + std::to_string(i));
    fleet.connect(
        hello, [&] { ++waked; }, [] {});
  }
  controller::Recollection recollection;
  auto now = std::chrono::floor<hours>(clock.wall());
  for (int hour = 24 * 28; hour > 0; --hour) recollection.record(hour_of(now - hours(hour), upstreams, 0.05));
  fleet.set_baselines(recollection.turn(now, true).baselines);

  recollection.record(hour_of(now, upstreams, 0.05));
  const double began = cpu_ms();
  controller::Recollection::Turn turn = recollection.turn(now + hours(1), true);
  const double worked_out = cpu_ms();
  for (auto& [key, view] : turn.baselines.upstreams)
    if (view.expected) view.expected->value *= 2;
  const double telling = cpu_ms();
  waked = 0;
  fleet.set_baselines(std::move(turn.baselines));
  boost::json::object row{{"nodes", nodes},
                          {"upstreams", upstreams},
                          {"worked_out_ms", worked_out - began},
                          {"told_ms", cpu_ms() - telling},
                          {"nodes_told", waked}};
  std::puts(boost::json::serialize(row).c_str());
}
