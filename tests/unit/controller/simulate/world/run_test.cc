#include "controller/simulate/run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "controller/simulate/random_scenario.h"
#include "controller/simulate/report.h"
#include "controller/simulate/scenario_file.h"
#include "controller/simulate/strategies/penstock_history.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;

Scenario scenario(const std::string& body) {
  auto parsed = parse_scenario("kind: Scenario\nname: test\nabout: Of a test.\n" + body);
  for (const policy::Problem& problem : parsed.problems) ADD_FAILURE() << to_string(problem, "test");
  return std::move(*parsed.scenario);
}

const Contender& contender(std::string_view name) {
  const auto found = std::ranges::find(contenders(), name, &Contender::name);
  if (found == contenders().end()) throw std::invalid_argument(std::string(name));
  return *found;
}

// A at so much for 40 s.
std::string troubled(const std::string& episode) {
  return "duration: 80s\nupstreams:\n  - name: A\n    latency: 200ms\n    episodes: [{from: 20s, to: 60s, " + episode +
         "}]\n";
}

TEST(Run, TheSameSeedGivesTheSameRowsBitForBit) {
  const Scenario slow = scenario(troubled("latency: 5s, errorRatio: 0.1"));
  std::vector<Job> jobs;
  for (const char* name : {"penstock", "threads-640", "unlimited"}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) jobs.push_back({&slow, &contender(name), seed});
  }
  const std::string once = to_json(run_all(jobs, 1, nullptr));
  EXPECT_EQ(to_json(run_all(jobs, 3, nullptr)), once);
  const std::vector<Row> rows = run_all(jobs, 2, nullptr);
  EXPECT_NE(rows[0].calls, rows[1].calls);
  // Whatever the policy, the same users come.
  EXPECT_EQ(rows[0].users, rows[3].users);
  EXPECT_EQ(rows[0].users, rows[6].users);
}

TEST(Run, EveryUserIsServedOrLostOnceWhateverHappens) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Scenario drawn = std::move(*parse_scenario(random_scenario(seed)).scenario);
    drawn.measure = {0s, drawn.duration};
    drawn.nodes.restarts = {{0, 90s}};
    for (const char* name : {"penstock", "threads-640"}) {
      const Row row = run(drawn, contender(name), seed);
      std::int64_t users = 0;
      std::int64_t served = 0;
      for (const Second& second : row.series) {
        users += second.affected + second.others;
        served += second.affected_served + second.others_served;
      }
      EXPECT_GT(users, 0);
      EXPECT_EQ(users, row.users) << name << ", " << random_scenario(seed);
      EXPECT_NEAR(row.goodput, static_cast<double>(served) / static_cast<double>(users), 1e-9);
      EXPECT_GE(row.tries_per_user, 1);
      EXPECT_GE(row.crashes, 1);
    }
  }
}

TEST(Run, EveryPolicyServesANormalDay) {
  const Scenario normal = scenario("duration: 60s\n");
  for (const char* name : {"penstock", "threads-640", "unlimited"}) {
    const Row row = run(normal, contender(name), 1);
    EXPECT_EQ(row.goodput, 1) << name;
    EXPECT_EQ(row.shed_normal, 0) << name;
    EXPECT_EQ(row.tries_per_user, 1) << name;
    EXPECT_EQ(row.wasted_call_ratio, 0) << name;
    EXPECT_NEAR(static_cast<double>(row.users), 300 * 40, 500);
  }
}

// Starts everything, and looks.
class Watching final : public Strategy {
 public:
  struct Seen {
    double in_flight = 0;
    int ticks = 0;
    double latency = 0;
    int ended = 0;
  };
  Watching(Host& host, Seen& seen) : host_(host), seen_(seen) {}
  Manner manner() const override { return {}; }
  void arrive(Request& request) override { host_.start(request); }
  void forget(const Request&) override {}
  void ended(const Request& request, Fate) override {
    seen_.latency += decision::seconds(host_.now() - request.arrived);
    ++seen_.ended;
  }
  void call(const Request& request, const Call&) override { host_.send(request, Instant::max()); }
  void forget_call(const Request&, const Call&) override {}
  void call_ended(const Request&, const Call&, Fate) override {}
  void tick() override {
    seen_.in_flight += host_.load().in_flight;
    ++seen_.ticks;
  }

 private:
  Host& host_;
  Seen& seen_;
};

TEST(Run, KeepsLittlesLaw) {
  const Scenario steady = scenario("duration: 300s\nnodes: {count: 1}\n");
  Watching::Seen seen;
  struct All final : Ensemble {
    explicit All(Watching::Seen& seen) : seen(seen) {}
    std::unique_ptr<Strategy> make(Host& host) override { return std::make_unique<Watching>(host, seen); }
    Watching::Seen& seen;
  };
  const Contender watching{"watching", "", [&](const Scenario&, std::uint64_t) { return std::make_unique<All>(seen); }};
  run(steady, watching, 1);
  // The run lasts as long as the last user's patience.
  const double rate = seen.ended / 310.0;
  const double in_flight = seen.in_flight / seen.ticks;
  EXPECT_NEAR(in_flight, rate * seen.latency / seen.ended, 0.02 * in_flight);
  EXPECT_NEAR(rate, 300 * 300.0 / 310, 5);
}

TEST(Run, UsersTryAgainAfterErrorsAsOftenAsTheyAreSaidTo) {
  Scenario failing = scenario("duration: 60s\npages: [{name: a, calls: [A]}]\nupstreams: [{name: A, errorRatio: 1}]\n");
  const Row row = run(failing, contender("unlimited"), 1);
  EXPECT_EQ(row.goodput, 0);
  EXPECT_NEAR(row.tries_per_user, 1 + 0.6 + 0.36 + 0.216, 0.03);
  EXPECT_EQ(row.wasted_call_ratio, 1);
}

TEST(Run, UsersWhoAreNotAnsweredRefreshOnceAndLeaveWhenTheirPatienceEnds) {
  const Scenario silent = scenario("measure: {from: 20s, to: 50s}\n" + troubled("silentRatio: 1"));
  const Row row = run(silent, contender("unlimited"), 1);
  EXPECT_EQ(row.affected_goodput, 0);
  EXPECT_EQ(row.unaffected_goodput, 1);
  // Half of those that are affected, who are half.
  EXPECT_NEAR(row.tries_per_user, 1.25, 0.02);
  // Cancelled when their users leave, nobody waits for longer than users do: 150/s, 4 s or 6 s, and 10 s.
  EXPECT_NEAR(row.peak_memory_mib, 100 + 150 * 10 / 2 / 16.0, 12);
}

TEST(Run, PatienceIsCountedFromTheFirstTry) {
  const Scenario slow = scenario("measure: {from: 20s, to: 52s}\n" + troubled("latency: 7s, spread: 0"));
  const Row row = run(slow, contender("unlimited"), 1);
  // Those who refresh after 4 s would be answered after 11 s.
  EXPECT_NEAR(*row.affected_goodput, 0.5, 0.04);
}

TEST(Run, ANodeWithoutMemoryDiesAndComesBack) {
  const std::string nodes = "nodes: {memory: 160MiB, startTime: 5s}\n";
  const Row unlimited = run(scenario(nodes + troubled("silentRatio: 1")), contender("unlimited"), 1);
  EXPECT_EQ(unlimited.crashes, 0);
  const std::string many = "load: {rate: 1500}\n";
  const Row dying = run(scenario(many + nodes + troubled("silentRatio: 1")), contender("unlimited"), 1);
  EXPECT_GT(dying.crashes, 1);
  EXPECT_LT(*dying.unaffected_goodput, 0.9);
  const Row ours = run(scenario(many + nodes + troubled("silentRatio: 1")), contender("penstock"), 1);
  EXPECT_EQ(ours.crashes, 0);
}

TEST(Run, ASaturatedCpuServesWhatItCan) {
  // 6.4 cores of work for 4.
  const Scenario busy = scenario(
      "duration: 60s\nmeasure: {from: 0s, to: 60s}\nnodes: {count: 1, cores: 4}\nload: {rate: 80}\npages: [{name: a, "
      "cpu: 80ms}]\n"
      "users: {refreshShare: 0, retryShare: 0}\n");
  const Row row = run(busy, contender("threads-640"), 1);
  // First come, first served: all wait longer and longer, and after 17 s everyone waits for more than 10 s.
  EXPECT_NEAR(row.goodput, 17 / 60.0, 0.05);
}

TEST(Run, ThreadsCollapseWhereFibersWithDeadlinesDoNot) {
  const Scenario slow = scenario(troubled("latency: 5s"));
  const Row threads = run(slow, contender("threads-640"), 1);
  const Row fibers = run(slow, contender("unlimited"), 1);
  EXPECT_LT(threads.goodput, 0.5);
  EXPECT_LT(*threads.unaffected_goodput, 0.6);
  EXPECT_GT(*fibers.affected_goodput, 0.7);
  EXPECT_GT(*fibers.unaffected_goodput, 0.99);
}

TEST(Run, UnlimitedFibersDrownAnUpstreamThatIsFull) {
  const Row row = run(scenario(troubled("capacity: {servers: 20}")), contender("unlimited"), 1);
  EXPECT_LT(*row.affected_goodput, 0.6);
  EXPECT_GT(*row.unaffected_goodput, 0.99);
}

TEST(Run, PenstockCutsOffWhatIsDeadAndComesBack) {
  const Row row = run(scenario("duration: 100s\n" + troubled("silentRatio: 1").substr(14)), contender("penstock"), 1);
  EXPECT_GT(*row.unaffected_goodput, 0.99);
  ASSERT_TRUE(row.trip_s);
  EXPECT_LT(*row.trip_s, 12);
  ASSERT_TRUE(row.recovery_s);
  EXPECT_LT(*row.recovery_s, 8);
  ASSERT_FALSE(row.verdicts.empty());
  EXPECT_EQ(row.verdicts[0].cause, Cause::dead);
  EXPECT_EQ(row.verdicts[0].truth, Truth::dead);
}

// All nodes and the controller begin while A is overrun.
std::string deployed(int days) {
  return "duration: 200s\nhistory: {days: " + std::to_string(days) +
         "}\n"
         "nodes:\n  startTime: 2s\n  restarts: [{node: 0, at: 70s}, {node: 1, at: 72s}]\n"
         "outages: {controller: [{from: 50s, to: 74s}]}\n"
         "upstreams:\n  - name: A\n    latency: 200ms\n    episodes: [{from: 60s, to: 180s, capacity: {servers: "
         "20}}]\n";
}

TEST(Run, WhoBeginsInTroubleKnowsByRecordedDaysThatItIsTrouble) {
  double with = 0;
  double without = 0;
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const Row known = run(scenario(deployed(14)), contender("penstock"), seed);
    with += *known.affected_goodput;
    found += known.knee_s.has_value();
    without += *run(scenario(deployed(0)), contender("penstock"), seed).affected_goodput;
  }
  EXPECT_EQ(found, 5);
  EXPECT_GT(with, without + 0.1 * 5);
}

TEST(History, IsWhatIsUsualAndComesWithTheCurveOfTheDay) {
  const Scenario day = scenario(
      "duration: 480s\nhistory: {days: 14, day: 480s}\n"
      "load: {rate: 100, curve: [{at: 0s, factor: 1}, {at: 240s, factor: 3}, {at: 480s, factor: 1}]}\n"
      "upstreams: [{name: A, latency: 200ms, spread: 0}]\n");
  const PenstockHistory history(day);
  EXPECT_NEAR(decision::seconds(history.latency(0, at(0s))), 0.2, 1e-6);
  EXPECT_NEAR(decision::seconds(history.latency(0, at(300s))), 0.2, 1e-6);
  // An hour of that day is 20 s.
  EXPECT_NEAR(*history.rate("default", at(110s)), 100 * (1 + 2 * 130.0 / 240), 10);
  EXPECT_NEAR(*history.rate("default", at(230s)), 300, 10);
  EXPECT_FALSE(history.rate("other", at(0s)));

  const PenstockHistory none(scenario("duration: 480s\n"));
  EXPECT_EQ(none.latency(0, at(0s)), Duration::zero());
  EXPECT_FALSE(none.rate("default", at(0s)));
}

}  // namespace
}  // namespace penstock::simulate
