#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>

#include "penstock/fiber.h"
#include "penstock/runtime.h"
#include "penstock/testing.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::assert_switches;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::SwitchAssertion;
using testing::SwitchAssertionFailed;

// What the function threw; empty: nothing.
std::string failure_of(const std::function<void()>& fn) {
  std::string what;
  Runtime runtime({.threads = 1, .blocked_after = 0ms});
  runtime
      .spawn("test",
             [&] {
               try {
                 fn();
               } catch (const SwitchAssertionFailed& e) {
                 what = e.what();
               }
             })
      .join();
  return what;
}

TEST(SwitchAssertion, HoldsForCodeThatWaits) {
  EXPECT_EQ(failure_of([] {
              const SwitchAssertion assertion({.max_blocking = 10s});
              EXPECT_FALSE(assertion.switched());
              sleep_for(1ms);
              EXPECT_TRUE(assertion.switched());
            }),
            "");
}

TEST(SwitchAssertion, FailsForCodeThatBlocksItsThread) {
  EXPECT_EQ(failure_of([] { assert_switches([] { ::usleep(1000); }); }), "the code did not switch to another fiber");
}

TEST(SwitchAssertion, FailsForOneLongRunAmongWaits) {
  const auto blocks_once = [](Duration before_the_first_wait, Duration after_it) {
    return failure_of([=] {
      assert_switches(
          [=] {
            ::usleep(static_cast<useconds_t>(before_the_first_wait / 1us));
            sleep_for(1ms);
            ::usleep(static_cast<useconds_t>(after_it / 1us));
            sleep_for(1ms);
          },
          {.max_blocking = 30ms});
    });
  };
  EXPECT_THAT(blocks_once(60ms, 0ms), StartsWith("the code held its thread for 6"));
  EXPECT_THAT(blocks_once(0ms, 60ms), HasSubstr("more than 30 ms"));
  EXPECT_THAT(failure_of([] { assert_switches([] { sleep_for(1ms), ::usleep(60'000); }, {.max_blocking = 30ms}); }),
              HasSubstr("more than 30 ms"));
}

TEST(SwitchAssertion, CountsNothingFromBeforeItsScopeNorFromOtherFibers) {
  EXPECT_EQ(failure_of([] {
              ::usleep(60'000);
              Fiber other;
              {
                const SwitchAssertion assertion({.max_blocking = 30ms});
                other = spawn("other", [] { ::usleep(60'000); });
                sleep_for(1ms);
              }
              other.join();
            }),
            "");
}

TEST(SwitchAssertion, CanAllowNoSwitchAndTellInstead) {
  std::string told;
  EXPECT_EQ(failure_of([&] {
              const auto tell = [&told](const std::string& what) { told = what; };
              { const SwitchAssertion assertion({.must_switch = false, .on_failure = tell}); }
              EXPECT_EQ(told, "");
              { const SwitchAssertion assertion({.on_failure = tell}); }
            }),
            "");
  EXPECT_THAT(told, HasSubstr("did not switch"));
}

TEST(SwitchAssertion, LeavesExceptionsAlone) {
  EXPECT_EQ(failure_of([] {
              EXPECT_THROW(assert_switches([]() -> int { throw std::runtime_error("of the code"); }),
                           std::runtime_error);
              EXPECT_EQ(assert_switches([] { return sleep_for(1ms), 7; }), 7);
            }),
            "");
  EXPECT_THROW(SwitchAssertion(), std::logic_error);
}

}  // namespace
}  // namespace penstock
