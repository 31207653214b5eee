#include "penstock/runtime.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "runtime/fiber/fiber_access.h"
#include "runtime/fiber/offload.h"
#include "runtime/fiber/scheduler_thread.h"
#include "runtime/fiber/stack_arena.h"
#include "runtime/net/listen_queue.h"
#include "runtime/net/resolver.h"
#include "runtime/net/shortage.h"
#include "runtime/registry.h"
#include "runtime/runtime_state.h"
#include "runtime/signals.h"
#include "runtime/telemetry/default_log.h"
#include "runtime/telemetry/loop_watch.h"

// The half of Runtime that owns the threads: from the first to the drain.
namespace penstock {
namespace {

constexpr unsigned kLeastOffloadThreads = 4;
constexpr unsigned kMostOffloadThreads = 1024;
constexpr unsigned kMostThreads = 256;
constexpr std::size_t kLeastStack = 16 * 1024;
constexpr std::size_t kMostStack = 64 * 1024 * 1024;
// How long cancelled fibers are waited for before a signal ends the process.
constexpr auto kPatience = std::chrono::seconds(5);

unsigned cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

RuntimeOptions checked(RuntimeOptions options) {
  if (options.service.empty()) throw std::invalid_argument("service: must not be empty");
  if (options.threads > kMostThreads) throw std::invalid_argument("threads: at most 256");
  if (options.stack_bytes < kLeastStack || options.stack_bytes > kMostStack) {
    throw std::invalid_argument("stack_bytes: from 16 KiB to 64 MiB");
  }
  if (options.drain_grace < options.drain_grace.zero()) throw std::invalid_argument("drain_grace: negative");
  check_signals(options.on_signal);
  if (options.offload_threads < 1 || options.offload_threads > kMostOffloadThreads) {
    throw std::invalid_argument("offload_threads: from 1 to 1024");
  }
  if (options.blocked_after < options.blocked_after.zero()) throw std::invalid_argument("blocked_after: negative");
  if (options.threads == 0) options.threads = std::min(cores(), kMostThreads);
  return options;
}

// From ready to running: an idle thread takes microseconds, a blocked one as long as it is blocked.
std::vector<double> run_delay_edges() { return {1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3, 10}; }

// The signals that stop a runtime, and its bell, in one wait.
class StopEvents {
 public:
  StopEvents(int bell, const SignalFunctions& others) : bell_(bell) {
    const sigset_t set = stop_signals();
    // run() may be called on another thread than the constructor.
    sigset_t all = set;
    add_signals(all, others);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    signals_ = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals_ < 0) throw std::system_error(errno, std::system_category(), "signalfd");
  }
  ~StopEvents() { ::close(signals_); }
  StopEvents(const StopEvents&) = delete;
  StopEvents& operator=(const StopEvents&) = delete;

  // Until something happens, or then. The signal that came, if one did.
  std::optional<int> wait(Instant until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd fds[] = {{signals_, POLLIN, 0}, {bell_, POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000)));
    std::uint64_t rings;
    [[maybe_unused]] const ssize_t bell = ::read(bell_, &rings, sizeof rings);
    signalfd_siginfo info;
    if (::read(signals_, &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  const int bell_;
  int signals_;
};

}  // namespace

Runtime::State::State(RuntimeOptions given)
    : options(checked(std::move(given))),
      registry(std::make_unique<Registry>(metrics)),
      bell(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (bell < 0) throw std::system_error(errno, std::system_category(), "eventfd");
  telemetry::log_to_stderr_by_default();
  sigset_t set = stop_signals();
  add_signals(set, options.on_signal);
  ::pthread_sigmask(SIG_BLOCK, &set, &old_signals);
  // A peer that has gone is an error of the write.
  ::signal(SIGPIPE, SIG_IGN);

  Histogram& run_delay =
      metrics.histogram("penstock_scheduler_run_delay_seconds",
                        "Time from a fiber being ready to its running: high when the CPU is saturated or a fiber "
                        "blocks its thread.",
                        {}, run_delay_edges());
  registry->watch_run_delay(run_delay);
  offload = std::make_unique<fiber::OffloadThreads>(std::min(kLeastOffloadThreads, options.offload_threads),
                                                    options.offload_threads);
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.push_back(std::make_unique<fiber::SchedulerThread>(fiber::SchedulerOptions{
        .index = i,
        .stack_bytes = options.stack_bytes,
        .run_delay = [&run_delay](Duration d, std::uint64_t times) { run_delay.observe(d, times); },
        .long_run =
            options.blocked_after > options.blocked_after.zero() ? Duration(options.blocked_after) : Duration::max()}));
  }
  metrics.collect("penstock_fibers", "Fibers that have not ended.", "gauge", [this](const MetricsRegistry::Emit& emit) {
    std::uint64_t sum = 0;
    for (const auto& thread : threads) sum += thread->fibers();
    emit({}, static_cast<double>(sum));
  });
  metrics.collect("penstock_fibers_refused_total", "Fibers that did not start because there was no memory for a stack.",
                  "counter", [this](const MetricsRegistry::Emit& emit) {
                    std::uint64_t sum = 0;
                    for (const auto& thread : threads)
                      sum += thread->heartbeat()->refused.load(std::memory_order_relaxed);
                    emit({}, static_cast<double>(sum));
                  });
  metrics.collect("penstock_stack_high_water_bytes", "The most that any fiber has used of its stack, in whole pages.",
                  "gauge", [bytes = options.stack_bytes](const MetricsRegistry::Emit& emit) {
                    emit({}, static_cast<double>(fiber::StackArena::of(bytes).high_water()));
                  });
  metrics.collect("penstock_offload_waiting", "Functions that wait for one of the threads that may block.", "gauge",
                  [this](const MetricsRegistry::Emit& emit) { emit({}, static_cast<double>(offload->waiting())); });
  metrics.collect("penstock_listen_backlog", "Connections that wait to be accepted.", "gauge",
                  [](const MetricsRegistry::Emit& emit) {
                    for (const auto& queue : net::listen_queues()) emit({{"address", queue.address}}, queue.waiting);
                  });
  metrics.collect("penstock_listen_backlog_limit", "Connections that may wait to be accepted.", "gauge",
                  [](const MetricsRegistry::Emit& emit) {
                    for (const auto& queue : net::listen_queues()) emit({{"address", queue.address}}, queue.most);
                  });
  if (options.blocked_after > options.blocked_after.zero()) {
    std::vector<telemetry::LoopWatch::Watched> watched;
    for (unsigned i = 0; i < options.threads; ++i) {
      watched.push_back({i, threads[i]->thread(), threads[i]->heartbeat()});
    }
    loop_watch = std::make_unique<telemetry::LoopWatch>(std::move(watched), options.blocked_after, metrics);
  }
  metrics.collect("penstock_socket_shortages_total",
                  "Connections that were not accepted or made for want of descriptors or memory.", "counter",
                  [](const MetricsRegistry::Emit& emit) {
                    emit({{"operation", "accept"}}, static_cast<double>(net::shortages(net::ShortOf::accepting)));
                    emit({{"operation", "connect"}}, static_cast<double>(net::shortages(net::ShortOf::connecting)));
                  });
  if (options.resolver == RuntimeOptions::Resolver::system) {
    for (auto& thread : threads) {
      thread->spawn("resolver", [this] { net::set_resolver_options({.system = offload.get()}); });
    }
  }
  for (const auto& [number, fn] : options.on_signal) {
    threads[0]->spawn(signal_name(number), [fd = open_signal(number), number, &fn] { serve_signal(fd, number, fn); });
  }
  registry->door().open(options.threads, [this](unsigned thread, std::string_view fiber, std::function<void()> fn) {
    threads[thread]->spawn(fiber, std::move(fn));
  });
  threads[0]->spawn("policy ticker", [this] { registry->run_ticker(); });
}

Runtime::State::~State() {
  stopping.store(true, std::memory_order_release);
  // All at once, so that none waits for another one's fibers.
  loop_watch.reset();
  for (auto& thread : threads) thread->cancel_all();
  for (auto& thread : threads) thread->finish();
  // None is destroyed while another one's fibers may still turn to it.
  for (auto& thread : threads) thread->join();
  threads.clear();
  offload.reset();
  on_run.clear();
  on_drain.clear();
  registry.reset();
  ::close(bell);
  ::pthread_sigmask(SIG_SETMASK, &old_signals, nullptr);
}

void Runtime::State::ring() const noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(bell, &one, sizeof one);
}

RuntimeAccess::Work::Work(Runtime& runtime) : state_(state(runtime)) {
  state_.work.fetch_add(1, std::memory_order_relaxed);
}

RuntimeAccess::Work::~Work() {
  if (state_.work.fetch_sub(1) == 1 && state_.stopping.load()) state_.ring();
}

void RuntimeAccess::adopt(Runtime& runtime, std::unique_ptr<fiber::SchedulerThread> thread) {
  Runtime::State& state = RuntimeAccess::state(runtime);
  const auto index = static_cast<unsigned>(state.threads.size());
  if (state.loop_watch) state.loop_watch->watch({index, thread->thread(), thread->heartbeat()});
  state.threads.push_back(std::move(thread));
}

void RuntimeAccess::start(Runtime& runtime) {
  Runtime::State& state = RuntimeAccess::state(runtime);
  std::vector<std::function<void()>> on_run;
  {
    std::lock_guard lock(state.mutex);
    if (std::exchange(state.running, true)) throw std::logic_error("run() was called twice");
    on_run.swap(state.on_run);
  }
  for (auto& fn : on_run) fn();
}

void RuntimeAccess::on_run(Runtime& runtime, std::function<void()> fn) {
  Runtime::State& state = RuntimeAccess::state(runtime);
  {
    std::lock_guard lock(state.mutex);
    if (!state.running) {
      state.on_run.push_back(std::move(fn));
      return;
    }
  }
  fn();
}

std::uint64_t RuntimeAccess::fibers(const Runtime& runtime) {
  std::uint64_t sum = 0;
  for (const auto& thread : state(runtime).threads) sum += thread->fibers();
  return sum;
}

namespace {

constinit std::atomic<Runtime*> process_runtime{nullptr};
constinit std::atomic<std::uint64_t> runtimes_ended{0};

}  // namespace

Runtime* RuntimeAccess::of_process() noexcept { return process_runtime.load(std::memory_order_acquire); }

std::uint64_t RuntimeAccess::ended() noexcept { return runtimes_ended.load(std::memory_order_acquire); }

Runtime::Runtime(RuntimeOptions options) : state_(std::make_unique<State>(std::move(options))) {
  process_runtime.store(this, std::memory_order_release);
}

Runtime::~Runtime() {
  Runtime* self = this;
  process_runtime.compare_exchange_strong(self, nullptr);
  // Not reset(): while it is destroyed its fibers still come here.
  delete state_.get();
  static_cast<void>(state_.release());
  runtimes_ended.fetch_add(1, std::memory_order_release);
}

const RuntimeOptions& Runtime::options() const { return state_->options; }

unsigned Runtime::threads() const { return state_->options.threads; }

Fiber Runtime::spawn(std::string_view name, Callable fn) {
  const unsigned turn = state_->next_thread.fetch_add(1, std::memory_order_relaxed);
  return spawn_on(turn % threads(), name, std::move(fn));
}

Fiber Runtime::spawn_on(unsigned thread, std::string_view name, Callable fn) {
  if (thread >= threads()) throw std::out_of_range("no such scheduler thread");
  return state_->threads[thread]->spawn(name, std::move(fn));
}

void Runtime::run_offloaded(const std::function<void()>& fn) { state_->offload->run(fn); }

void Runtime::stop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop_requested = true;
  }
  state_->ring();
}

bool Runtime::draining() const {
  return state_->stopping.load(std::memory_order_acquire) || state_->lease_draining.load(std::memory_order_relaxed);
}

void Runtime::set_draining(bool draining) { state_->lease_draining.store(draining, std::memory_order_relaxed); }

void Runtime::on_drain(std::function<void()> begin, std::function<void()> end) {
  bool begun, ended;
  {
    std::lock_guard lock(state_->mutex);
    begun = state_->stopping.load();
    ended = state_->drained;
    if (!begun) {
      state_->on_drain.emplace_back(std::move(begin), std::move(end));
      return;
    }
    if (!ended) state_->on_drain.emplace_back(nullptr, end);
  }
  if (begin) begin();
  if (ended && end) end();
}

void Runtime::run() {
  State& state = *state_;
  StopEvents events(state.bell, state.options.on_signal);

  RuntimeAccess::start(*this);

  const auto stop_requested = [&state] {
    std::lock_guard lock(state.mutex);
    return state.stop_requested;
  };
  while (!stop_requested()) {
    if (const auto signal = events.wait(Instant::max())) {
      spdlog::info("{}: draining, for at most {} ms", signal_name(*signal), state.options.drain_grace.count());
      break;
    }
  }

  std::vector<std::function<void()>> begin;
  {
    std::lock_guard lock(state.mutex);
    state.stopping.store(true);
    for (auto& [at_begin, at_end] : state.on_drain) {
      if (at_begin) begin.push_back(at_begin);
    }
  }
  for (auto& fn : begin) fn();

  const Instant give_up = std::chrono::steady_clock::now() + state.options.drain_grace;
  while (state.work.load() != 0 && std::chrono::steady_clock::now() < give_up) {
    if (const auto signal = events.wait(give_up)) {
      spdlog::warn("{} again: not waiting for what is in flight", signal_name(*signal));
      break;
    }
  }
  if (state.work.load() != 0) spdlog::warn("cancelling what is still in flight");

  for (auto& thread : state.threads) {
    thread->cancel_all();
    thread->finish();
  }
  const Instant impatient = std::chrono::steady_clock::now() + kPatience;
  for (auto& thread : state.threads) {
    while (!thread->wait_for_end(std::chrono::milliseconds(20))) {
      if (std::chrono::steady_clock::now() < impatient) continue;
      thread->log_fibers();
      if (const auto signal = events.wait(std::chrono::steady_clock::now() + kPatience)) {
        // Cancelled fibers that do not end: whoever sends a signal again means it.
        ::signal(*signal, SIG_DFL);
        const sigset_t set = stop_signals();
        ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
        ::raise(*signal);
      }
    }
    thread->join();
  }

  std::vector<std::function<void()>> end;
  {
    std::lock_guard lock(state.mutex);
    state.drained = true;
    for (auto& [at_begin, at_end] : state.on_drain) {
      if (at_end) end.push_back(at_end);
    }
  }
  for (auto& fn : end) fn();
}

}  // namespace penstock
