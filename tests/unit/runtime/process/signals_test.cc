#include "runtime/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

#include "penstock/fiber.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Signals, RunAFunctionAsAFiber) {
  Event reloaded, told;
  Runtime runtime({.threads = 2,
                   .on_signal = {{SIGHUP,
                                  [&] {
                                    sleep_for(1ms);
                                    reloaded.set();
                                  }},
                                 {SIGUSR1, [&] { told.set(); }}}});
  for (int round = 0; round < 3; ++round) {
    ::kill(::getpid(), SIGHUP);
    EXPECT_TRUE(reloaded.wait_until(Clock::now() + 10s));
    EXPECT_FALSE(told.is_set());
    reloaded.reset();
  }
  ::kill(::getpid(), SIGUSR1);
  EXPECT_TRUE(told.wait_until(Clock::now() + 10s));
}

TEST(Signals, DoNotStopTheRuntimeWhichOthersDo) {
  std::atomic<int> calls{0};
  Runtime runtime({.threads = 1, .on_signal = {{SIGUSR2, [&] {
                                                  ++calls;
                                                  ::kill(::getpid(), SIGTERM);
                                                }}}});
  Event draining;
  runtime.on_drain([&] { draining.set(); });
  std::thread other([&] {
    ::kill(::getpid(), SIGUSR2);
    EXPECT_TRUE(draining.wait_until(Clock::now() + 10s));
  });
  runtime.run();
  other.join();
  EXPECT_EQ(calls, 1);
}

TEST(Signals, CallsForOneDoNotOverlapAndNoneIsForgotten) {
  Semaphore begun(0), go_on(0);
  std::atomic<int> running{0};
  Runtime runtime({.threads = 1, .on_signal = {{SIGUSR1, [&] {
                                                  EXPECT_EQ(++running, 1);
                                                  begun.release();
                                                  go_on.acquire();
                                                  --running;
                                                }}}});
  ::kill(::getpid(), SIGUSR1);
  EXPECT_TRUE(begun.try_acquire_until(Clock::now() + 10s));
  for (int i = 0; i < 5; ++i) ::kill(::getpid(), SIGUSR1);
  go_on.release();
  EXPECT_TRUE(begun.try_acquire_until(Clock::now() + 10s));
  go_on.release();
  EXPECT_FALSE(begun.try_acquire_until(Clock::now() + 5ms));
}

TEST(Signals, FunctionThatThrowsIsCalledAgain) {
  Semaphore calls(0);
  Runtime runtime({.threads = 1, .on_signal = {{SIGHUP, [&] {
                                                  calls.release();
                                                  throw std::runtime_error("bad file");
                                                }}}});
  for (int i = 0; i < 2; ++i) {
    ::kill(::getpid(), SIGHUP);
    EXPECT_TRUE(calls.try_acquire_until(Clock::now() + 10s));
  }
}

TEST(Signals, RefusesWhatCannotBeAnEvent) {
  for (const int number : {SIGTERM, SIGINT, SIGKILL, SIGSTOP, SIGSEGV, SIGPIPE, 0, -1, 1000}) {
    try {
      Runtime runtime({.threads = 1, .on_signal = {{number, [] {}}}});
      ADD_FAILURE() << number;
    } catch (const std::invalid_argument& e) {
      EXPECT_EQ(std::string(e.what()).substr(0, 10), "on_signal:");
    }
  }
  EXPECT_THROW(check_signals({{SIGHUP, nullptr}}), std::invalid_argument);
  EXPECT_EQ(signal_name(SIGHUP), "SIGHUP");
}

}  // namespace
}  // namespace penstock
