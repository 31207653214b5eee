#include "runtime/telemetry/loop_watch.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "runtime/fiber/worker.h"
#include "runtime/telemetry/process_metrics.h"
#include "runtime/telemetry/symbolizer.h"
#include "runtime/telemetry/thread_stack.h"

namespace penstock::telemetry {
namespace {

constexpr std::size_t kCalls = 64;
constexpr std::size_t kPlaces = 1024;
constexpr auto kLogEvery = std::chrono::seconds(10);
constexpr Duration kOftenest = std::chrono::milliseconds(1);

// Of the fiber that runs on another thread; Instant::max(): none, or not to be found out. The fiber may end meanwhile:
// the kernel knows what of it is memory, and whoever asks looks whether it still runs.
Instant deadline_of(const fiber::Properties* running) {
  Instant deadline = Instant::max();
  const iovec here{&deadline, sizeof deadline};
  const iovec there{const_cast<Instant*>(&running->state.deadline), sizeof deadline};
  return ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) == sizeof deadline ? deadline : Instant::max();
}

bool is_library(const Symbol& symbol) {
  return symbol.object.starts_with("libc.so") || symbol.object.starts_with("libpthread") ||
         symbol.object.starts_with("ld-linux") || symbol.object.starts_with("linux-vdso");
}

// "__GI___clock_nanosleep" is clock_nanosleep.
std::string plain_name(std::string name) {
  if (name.starts_with("__GI_")) name.erase(0, 5);
  while (name.starts_with('_')) name.erase(0, 1);
  return name.substr(0, name.find_first_of("(@"));
}

}  // namespace

LoopWatch::LoopWatch(std::vector<Watched> threads, Duration blocked_after, MetricsRegistry& metrics)
    : threads_(std::move(threads)),
      blocked_after_(blocked_after),
      metrics_(metrics),
      seen_(threads_.size()),
      overruns_(metrics.counter("penstock_scheduler_deadline_overruns_total",
                                "Fibers whose deadline passed while they held their thread.")) {
  watcher_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "loop-watch");
    keep_watching();
  });
}

LoopWatch::~LoopWatch() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ended_.notify_all();
  watcher_.join();
}

void LoopWatch::watch(Watched thread) {
  const std::lock_guard lock(mutex_);
  seen_.emplace_back();
  threads_.push_back(std::move(thread));
}

void LoopWatch::keep_watching() {
  const Duration period = std::max(blocked_after_ / 4, kOftenest);
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, period, [this] { return ending_; })) {
    for (std::size_t i = 0; i < threads_.size(); ++i) look(threads_[i], seen_[i]);
  }
}

void LoopWatch::look(const Watched& thread, Seen& seen) {
  const fiber::Heartbeat& beat = *thread.heartbeat;
  const std::uint64_t switches = beat.switches.load(std::memory_order_relaxed);
  const fiber::Properties* running = beat.running.load(std::memory_order_relaxed);
  const bool sleeps = running == nullptr;
  const Instant now = std::chrono::steady_clock::now();
  if (sleeps || switches != seen.switches || seen.first == Instant{}) {
    seen = {.switches = switches, .cpu = sleeps ? Duration{} : cpu_time_of_thread(thread.thread), .first = now};
    return;
  }
  const Duration waited = now - seen.first;
  const Duration held = now.time_since_epoch() - Duration(beat.since.load(std::memory_order_relaxed));
  if (!seen.told_deadline) {
    const Instant deadline = deadline_of(running);
    if (deadline <= now && beat.switches.load(std::memory_order_relaxed) == switches) {
      seen.told_deadline = true;
      tell_overrun(thread, now - deadline, held);
    }
  }
  if (seen.told || waited < blocked_after_) return;
  seen.told = true;
  tell(thread, std::max(held, waited), waited, cpu_time_of_thread(thread.thread) - seen.cpu);
}

void LoopWatch::tell(const Watched& thread, Duration held, Duration waited, Duration ran) {
  const ThreadStack stack = stack_of_thread(thread.thread);
  std::string call = "computing";
  std::uintptr_t place = stack.calls.empty() ? 0 : stack.calls.front();
  std::string text;
  bool inside = true;
  for (std::size_t i = 0; i < stack.calls.size(); ++i) {
    const Symbol symbol = Symbolizer::instance().find(stack.calls[i]);
    // The outermost library function before the code that called it.
    if (stack.in_system_call && inside) {
      if (is_library(symbol)) {
        if (!symbol.function.empty()) call = plain_name(symbol.function);
      } else {
        inside = false;
        place = stack.calls[i];
      }
    }
    text += "\n    " + symbol.text(stack.calls[i]);
  }
  if (stack.in_system_call && call == "computing") call = "system call";
  const bool starved = !stack.in_system_call && ran < waited / 2;
  if (starved) call = "cpu";
  count(call);

  if (!may_log(place)) return;
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(held).count();
  if (starved) {
    spdlog::warn("scheduler thread {} is late by {} ms: it could run, and got no processor", thread.index,
                 milliseconds);
    return;
  }
  spdlog::warn("scheduler thread {} has been held for {} ms by {}{}{}{}; its other fibers wait. It is in:{}",
               thread.index, milliseconds, stack.in_system_call ? "a call that blocks, " : "", call,
               stack.fiber.empty() ? "" : ", in fiber ", stack.fiber, text.empty() ? " (not known)" : text);
}

void LoopWatch::tell_overrun(const Watched& thread, Duration by, Duration held) {
  overruns_.add();
  const ThreadStack stack = stack_of_thread(thread.thread);
  // Apart from what is told of the same place for holding the thread.
  if (!may_log(stack.calls.empty() ? 1 : ~stack.calls.front())) return;
  std::string text;
  for (const Address call : stack.calls) text += "\n    " + Symbolizer::instance().find(call).text(call);
  const auto in_milliseconds = [](Duration d) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
  };
  spdlog::warn(
      "a deadline passed {} ms ago, and its fiber{}{} does not wait: it has held scheduler thread {} for {} ms. It is "
      "in:{}",
      in_milliseconds(by), stack.fiber.empty() ? "" : " ", stack.fiber, thread.index, in_milliseconds(held),
      text.empty() ? " (not known)" : text);
}

bool LoopWatch::may_log(std::uintptr_t place) {
  const Instant now = std::chrono::steady_clock::now();
  if (logged_.size() >= kPlaces) logged_.clear();
  const auto [at, fresh] = logged_.try_emplace(place, now);
  if (!fresh && now - at->second < kLogEvery) return false;
  at->second = now;
  return true;
}

void LoopWatch::count(const std::string& call) {
  auto found = counters_.find(call);
  if (found == counters_.end()) {
    const std::string label = counters_.size() < kCalls ? call : "other";
    Counter& counter = metrics_.counter("penstock_scheduler_blocked_total",
                                        "Scheduler threads found held by a call that blocks, or by computing; cpu: "
                                        "they got no processor.",
                                        {{"call", label}});
    found = counters_.emplace(label, &counter).first;
  }
  found->second->add();
}

}  // namespace penstock::telemetry
