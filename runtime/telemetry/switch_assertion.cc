#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "penstock/testing.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::testing {
namespace {

fiber::Scheduler& scheduler_of_fiber() {
  fiber::require_fiber("SwitchAssertion");
  return *fiber::Scheduler::current();
}

std::string milliseconds_text(Duration d) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(d).count()) + " ms";
}

}  // namespace

struct SwitchAssertion::State {
  explicit State(SwitchExpectations given)
      : scheduler(scheduler_of_fiber()),
        expected(std::move(given)),
        switches(scheduler.heartbeat()->switches.load(std::memory_order_relaxed)),
        watch{.fiber = &scheduler.running(), .at_least = {}, .begun = std::chrono::steady_clock::now()} {
    scheduler.watch_runs(watch);
  }
  ~State() { scheduler.unwatch(watch); }

  bool switched() const { return scheduler.heartbeat()->switches.load(std::memory_order_relaxed) != switches; }
  Duration longest() const {
    const Instant began = std::max(watch.begun, watch.fiber->since);
    return std::max<Duration>(watch.longest, std::chrono::steady_clock::now() - began);
  }

  fiber::Scheduler& scheduler;
  const SwitchExpectations expected;
  // While the fiber runs, nothing else on its thread switches.
  const std::uint64_t switches;
  fiber::RunWatch watch;
};

SwitchAssertion::SwitchAssertion(SwitchExpectations expected) : state_(new State(std::move(expected))) {}

SwitchAssertion::~SwitchAssertion() noexcept(false) {
  const std::unique_ptr<State> state = std::move(state_);
  if (std::uncaught_exceptions() > exceptions_) return;
  const Duration longest = state->longest();
  std::string wrong;
  if (state->expected.must_switch && !state->switched()) wrong = "the code did not switch to another fiber";
  if (longest > state->expected.max_blocking) {
    wrong += wrong.empty() ? "the code" : ", and it";
    wrong += " held its thread for " + milliseconds_text(longest) + ", more than " +
             milliseconds_text(state->expected.max_blocking);
  }
  if (wrong.empty()) return;
  if (!state->expected.on_failure) throw SwitchAssertionFailed(wrong);
  state->expected.on_failure(wrong);
}

bool SwitchAssertion::switched() const { return state_->switched(); }

Duration SwitchAssertion::longest_blocking() const { return state_->longest(); }

}  // namespace penstock::testing
