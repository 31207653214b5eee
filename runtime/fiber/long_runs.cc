#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/task_name.h"

// Runs of fibers that last longer than somebody wants to know of.
namespace penstock::fiber {
namespace {

constexpr auto kTellLongRunsEvery = std::chrono::seconds(1);

}  // namespace

void Scheduler::watch_runs(RunWatch& watch) noexcept {
  watch.next = run_watches_;
  run_watches_ = &watch;
  long_run_ = std::min(long_run_, watch.at_least);
}

void Scheduler::unwatch(RunWatch& watch) noexcept {
  long_run_ = options_.long_run;
  for (RunWatch** at = &run_watches_; *at != nullptr;) {
    if (*at == &watch) {
      *at = watch.next;
    } else {
      long_run_ = std::min(long_run_, (*at)->at_least);
      at = &(*at)->next;
    }
  }
}

void Scheduler::end_long_run(const Properties& fiber) noexcept {
  for (RunWatch* watch = run_watches_; watch != nullptr; watch = watch->next) {
    if (watch->fiber != &fiber) continue;
    watch->longest = std::max(watch->longest, now_ - std::max(fiber.since, watch->begun));
  }
  if (now_ - fiber.since >= options_.long_run) tell_long_run(fiber);
}

void Scheduler::tell_long_run(const Properties& fiber) noexcept {
  if (fiber.state.task == nullptr || now_ - long_run_told_ < kTellLongRunsEvery) return;
  long_run_told_ = now_;
  const PlainCalls plain;
  TaskName name;
  fiber.state.describe(name);
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now_ - fiber.since).count();
  spdlog::warn("fiber '{}' held scheduler thread {} for {} ms", name.view(), options_.index, milliseconds);
}

}  // namespace penstock::fiber
