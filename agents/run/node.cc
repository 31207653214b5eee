#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agents/run/membership.h"
#include "agents/run/settings.h"
#include "penstock/http.h"
#include "penstock/runtime.h"
#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler_thread.h"
#include "runtime/interpose/threads/plain_libraries.h"
#include "runtime/interpose/threads/program.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/thread_data.h"
#include "runtime/runtime_state.h"

// The node that a program becomes when penstock-run has started it: begun by its first pthread_create().
namespace penstock::run {
namespace {

constexpr auto kPatienceAtExit = std::chrono::seconds(5);
// The node needs milliseconds, unless the program's first thread is made where the node's have to wait for it.
constexpr auto kPatienceAtStart = std::chrono::seconds(2);

// A runtime of its own beside the program's scheduler, on plain threads that take no signals: it answers also while the
// program holds its thread.
class Node {
 public:
  Node(const Settings& settings, const std::vector<interpose::ProgramScheduler>& program) : pid_(::getpid()) {
    const fiber::PlainCalls plain;
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before);
    thread_ = std::thread([this, settings, program] { serve(settings, program); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  // Until the program's calls are guarded, or never will be.
  void await_start() {
    const fiber::PlainCalls plain;
    started_.get_future().wait_for(kPatienceAtStart);
  }

  // At the end of the process, before what the node uses is destroyed.
  void end() {
    if (::getpid() != pid_) return;
    const fiber::PlainCalls plain;
    end_.set_value();
    if (ended_.get_future().wait_for(kPatienceAtExit) == std::future_status::ready) thread_.join();
  }

 private:
  void serve(const Settings& settings, const std::vector<interpose::ProgramScheduler>& program) {
    bool starting = true;
    const auto tell_started = [&] {
      if (std::exchange(starting, false)) started_.set_value();
    };
    try {
      struct sigaction pipe {};
      ::sigaction(SIGPIPE, nullptr, &pipe);
      // One scheduler thread of its own, for what a node does besides.
      Runtime runtime({.service = settings.service, .threads = 1});
      ::sigaction(SIGPIPE, &pipe, nullptr);
      for (const auto& [inbox, heartbeat, thread, handle] : program) {
        RuntimeAccess::adopt(runtime, std::make_unique<fiber::SchedulerThread>(inbox, heartbeat, thread));
      }
      http::Server server(runtime, {.address = settings.address,
                                    .port = settings.port,
                                    .serve_debug = true,
                                    .admission = false,
                                    .max_connections = 100});
      const std::string address = server.address();
      const auto membership = Membership::begin(runtime, settings, address);
      RuntimeAccess::start(runtime);
      tell_started();
      spdlog::info("penstock-run: process {} of service {}: http://{}/metrics, /debug/fibers", pid_, settings.service,
                   address);
      end_.get_future().wait();
    } catch (const std::exception& error) {
      // The program goes on: its threads are fibers, but nobody sees them.
      spdlog::error("penstock-run: process {} is no node: {}", pid_, error.what());
    }
    tell_started();
    ended_.set_value();
  }

  const pid_t pid_;
  std::promise<void> started_, end_, ended_;
  std::thread thread_;
};

constinit std::optional<Settings> settings;
// Never destroyed.
Node* node = nullptr;
constinit std::atomic<bool> was_refused{false};

void tell_stats() {
  if (was_refused) return;
  const std::uint64_t made = interpose::ProgramThread::made();
  if (made == 0) {
    std::fprintf(stderr, "penstock-run: process %d made no threads: it ran unchanged\n", ::getpid());
    return;
  }
  std::fprintf(stderr, "penstock-run: process %d: %llu threads were fibers, at most %llu at a time\n", ::getpid(),
               static_cast<unsigned long long>(made),
               static_cast<unsigned long long>(interpose::ProgramThread::most_alive()));
}

void end_node() { node->end(); }

void begun(const std::vector<interpose::ProgramScheduler>& program) {
  // What was made before is destroyed after the node's end, which still logs.
  spdlog::default_logger_raw();
  node = new Node(*settings, program);
  node->await_start();
  std::atexit(end_node);
}

void refused(const std::string& why) {
  std::fprintf(stderr, "penstock-run: process %d: threads stay threads of the kernel: %s\n", ::getpid(), why.c_str());
  was_refused = true;
}

[[gnu::constructor]] void begin() {
  settings = Settings::received();
  if (!settings) return;
  if (settings->stats) std::atexit(tell_stats);
  interpose::add_plain_libraries(settings->plain_threads);
  interpose::make_fibers_of_threads(settings->threads, begun, refused);
}

}  // namespace
}  // namespace penstock::run
