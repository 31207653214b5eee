#include "controller/simulate/rivals/composed.h"

#include <gtest/gtest.h>

#include <deque>

#include "controller/simulate/rivals/counted.h"
#include "controller/simulate/rivals/resilience4j.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

using decision::RejectReason;

Scenario one_page() {
  Scenario scenario;
  scenario.upstreams.push_back({.name = "A"});
  scenario.pages.push_back({.name = "page", .path = "/page", .calls = {0}});
  scenario.policy.routes.push_back({.match = "/*", .deadline = std::chrono::seconds(10)});
  scenario.policy.upstreams.push_back({.name = "A", .timeout = std::chrono::seconds(5)});
  return scenario;
}

// Writes down what it is asked for.
class Notes final : public Host {
 public:
  Instant now() const override { return at(seconds); }
  Instant wall() const override { return now(); }
  std::uint32_t node() const override { return 0; }
  const Scenario& scenario() const override { return scenario_; }
  void start(const Request& request) override { said.push_back("start " + std::to_string(request.id)); }
  void refuse(const Request& request, RejectReason reason) override {
    said.push_back("refuse " + std::to_string(request.id) + " " + std::string(decision::to_string(reason)));
  }
  void send(const Request& request, Instant deadline) override {
    said.push_back("send " + std::to_string(request.id) + " until " +
                   std::to_string(static_cast<int>(decision::seconds(deadline - at(0)))));
  }
  void refuse_call(const Request& request, RejectReason reason) override {
    said.push_back("refuse call " + std::to_string(request.id) + " " + std::string(decision::to_string(reason)));
  }
  Load load() const override { return {}; }
  Memory memory() const override { return {}; }
  double uniform() override { return 0.5; }
  void wake_at(Instant) override {}
  void conclude(std::uint32_t, Cause, std::string_view) override {}
  void note_breaker(std::uint32_t, bool open) override { said.push_back(open ? "opens" : "closes"); }

  std::vector<std::string> heard() { return std::exchange(said, {}); }
  double seconds = 100;
  std::vector<std::string> said;

 private:
  const Scenario scenario_ = one_page();
};

class ComposedTest : public testing::Test {
 protected:
  Strategy& made(const Composition& composition) {
    ensemble_ = compose(composition, 1);
    strategy_ = ensemble_->make(host_);
    return *strategy_;
  }
  Request& arrives() {
    requests_.push_back({.id = static_cast<std::uint32_t>(requests_.size()), .arrived = host_.now()});
    strategy_->arrive(requests_.back());
    return requests_.back();
  }
  Call call_of() const { return {.asked = host_.now(), .sent = host_.now()}; }
  using Said = std::vector<std::string>;

  Notes host_;
  std::unique_ptr<Ensemble> ensemble_;
  std::unique_ptr<Strategy> strategy_;
  std::deque<Request> requests_;
};

TEST_F(ComposedTest, FibersHaveDeadlinesAndNoLimit) {
  Strategy& strategy = made({});
  EXPECT_FALSE(strategy.manner().threads);
  EXPECT_TRUE(strategy.manner().cancels);
  const Request& request = arrives();
  EXPECT_EQ(request.deadline, at(110));
  strategy.call(request, call_of());
  // The policy's time-out, but not beyond the request's deadline.
  host_.seconds = 108;
  strategy.call(request, call_of());
  EXPECT_EQ(host_.heard(), (Said{"start 0", "send 0 until 105", "send 0 until 110"}));
}

TEST_F(ComposedTest, ThreadsAreServedFirstComeFirstServed) {
  Strategy& strategy = made({.threads = 1, .deadlines = false});
  EXPECT_TRUE(strategy.manner().threads);
  EXPECT_FALSE(strategy.manner().cancels);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(arrives().deadline, Instant::max());
  EXPECT_EQ(host_.heard(), Said{"start 0"});
  strategy.call(requests_[0], call_of());
  EXPECT_EQ(host_.heard(), Said{"send 0 until 130"});
  strategy.call_ended(requests_[0], call_of(), Fate::ok);
  strategy.ended(requests_[0], Fate::ok);
  strategy.forget(requests_[1]);
  EXPECT_EQ(host_.heard(), Said{"start 1"});
  strategy.ended(requests_[1], Fate::ok);
  EXPECT_EQ(host_.heard(), Said{"start 2"});
}

TEST_F(ComposedTest, TheDoorRefusesAndGetsItsPlacesBack) {
  Composition composition{.threads = 1, .deadlines = false};
  composition.door = [](std::uint64_t) { return Gate::Parts{.limiter = std::make_unique<FixedLimiter>(2)}; };
  Strategy& strategy = made(composition);
  for (int i = 0; i < 3; ++i) arrives();
  EXPECT_EQ(host_.heard(), (Said{"start 0", "refuse 2 limit"}));
  strategy.ended(requests_[0], Fate::ok);
  arrives();
  arrives();
  EXPECT_EQ(host_.heard(), (Said{"start 1", "refuse 4 limit"}));
}

TEST_F(ComposedTest, AQueueForThreadsTurnsAwayAtATick) {
  Strategy& strategy = made({.threads = 1, .wait_for_thread = {.order = Line::Order::adaptive_lifo}});
  arrives();
  arrives();
  EXPECT_EQ(host_.heard(), Said{"start 0"});
  host_.seconds += 0.1;
  strategy.tick();
  EXPECT_EQ(host_.heard(), Said{"refuse 1 queue_timeout"});
}

TEST_F(ComposedTest, ABreakerBeforeAnUpstream) {
  Composition composition;
  composition.upstream = [](std::uint64_t) {
    return Gate::Parts{.limiter = std::make_unique<Resilience4j>(Resilience4j::documented_example()),
                       .reason = RejectReason::breaker};
  };
  Strategy& strategy = made(composition);
  for (int i = 0; i < 10; ++i) {
    strategy.call(arrives(), call_of());
    strategy.call_ended(requests_.back(), call_of(), Fate::error);
  }
  EXPECT_EQ(host_.heard().back(), "opens");
  strategy.call(arrives(), call_of());
  EXPECT_EQ(host_.heard(), (Said{"start 10", "refuse call 10 breaker"}));
  host_.seconds += 1.1;
  for (int i = 0; i < 3; ++i) strategy.call(arrives(), call_of());
  for (int i = 11; i < 14; ++i) strategy.call_ended(requests_[static_cast<std::size_t>(i)], call_of(), Fate::ok);
  EXPECT_EQ(host_.heard().back(), "closes");
}

TEST_F(ComposedTest, CallsWaitInALineOfTheirUpstream) {
  Composition composition;
  composition.upstream = [](std::uint64_t) {
    return Gate::Parts{.limiter = std::make_unique<FixedLimiter>(1), .line = Line::Rule{.order = Line::Order::lifo}};
  };
  Strategy& strategy = made(composition);
  for (int i = 0; i < 4; ++i) arrives();
  host_.heard();
  for (const Request& request : requests_) strategy.call(request, call_of());
  EXPECT_EQ(host_.heard(), Said{"send 0 until 105"});
  strategy.forget_call(requests_[3], call_of());
  strategy.call_ended(requests_[0], call_of(), Fate::ok);
  EXPECT_EQ(host_.heard(), Said{"send 2 until 105"});
}

}  // namespace
}  // namespace penstock::simulate
