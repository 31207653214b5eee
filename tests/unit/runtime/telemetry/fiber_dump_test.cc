#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "penstock/debug.h"
#include "penstock/fiber.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"
#include "tests/unit/runtime/eventually.h"

namespace penstock {

[[gnu::noinline]] void waits_for_the_event(Event& event) {
  event.wait();
  asm volatile("");
}
[[gnu::noinline]] void holds_the_loop(const std::atomic<bool>& stop) {
  while (!stop) ::usleep(1000);
  asm volatile("");
}

namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const FiberInfo* find(const FiberDump& dump, const std::string& name) {
  for (const FiberInfo& fiber : dump.fibers) {
    if (fiber.name == name) return &fiber;
  }
  return nullptr;
}

TEST(FiberDump, ShowsWhatEachFiberWaitsForAndWhere) {
  for (const unsigned threads : {1u, 2u, 4u, 8u}) {
    Runtime runtime({.threads = threads});
    Event event;
    std::vector<Fiber> fibers;
    for (int i = 0; i < 20; ++i) {
      fibers.push_back(runtime.spawn("waiter " + std::to_string(i), [&event] {
        const DeadlineScope scope(std::chrono::steady_clock::now() + 60s);
        waits_for_the_event(event);
      }));
    }
    fibers.push_back(runtime.spawn("sleeper", [] { sleep_for(60s); }));
    FiberDump dump;
    EXPECT_TRUE(eventually([&] {
      dump = dump_fibers(runtime);
      const FiberInfo* sleeper = find(dump, "sleeper");
      // One of a busy thread may have room for a part of them.
      return dump.total == 22 && dump.fibers.size() == 22 && sleeper != nullptr && sleeper->waiting_for == "a sleep" &&
             std::all_of(dump.fibers.begin(), dump.fibers.end(),
                         [](const FiberInfo& f) { return f.state == FiberInfo::State::waiting; });
    })) << to_text(dump);
    EXPECT_TRUE(dump.held.empty());
    const FiberInfo* waiter = find(dump, "waiter 7");
    ASSERT_NE(waiter, nullptr);
    EXPECT_GT(waiter->deadline_in.value(), 30s);
    EXPECT_GE(waiter->age, waiter->since);
#if defined(__x86_64__)
    EXPECT_TRUE(std::any_of(waiter->stack.begin(), waiter->stack.end(), [](const std::string& call) {
      return call.find("waits_for_the_event") != std::string::npos;
    })) << to_text(dump);
#endif
    EXPECT_THAT(to_text(dump), HasSubstr("22 fibers"));
    const auto json = boost::json::parse(to_json(dump));
    EXPECT_EQ(json.at("fibers").as_array().size(), 22u);

    const FiberDump limited = dump_fibers(runtime, 1);
    EXPECT_EQ(limited.total, 22u);
    EXPECT_LE(limited.fibers.size(), threads);
    EXPECT_THAT(to_text(limited), HasSubstr("more are not shown"));
    event.set();
    fibers.back().cancel();
  }
}

TEST(FiberDump, ShowsAThreadThatIsHeld) {
  Runtime runtime({.threads = 2, .blocked_after = 0ms});
  std::atomic<bool> stop{false};
  Fiber holding = runtime.spawn_on(1, "holder", [&stop] { holds_the_loop(stop); });
  EXPECT_TRUE(eventually([&] {
    const FiberDump dump = dump_fibers(runtime);
    return dump.held.size() == 1 && dump.held[0].thread == 1;
  }));
  stop = true;
  holding.join();
  EXPECT_TRUE(dump_fibers(runtime).held.empty());
}

TEST(FiberDump, CanBeAskedForByAFiber) {
  Runtime runtime({.threads = 1});
  FiberDump dump;
  runtime.spawn("asks", [&] { dump = dump_fibers(runtime); }).join();
  const FiberInfo* self = find(dump, "asks");
  ASSERT_NE(self, nullptr);
  EXPECT_THAT(self->waiting_for, HasSubstr("event"));
}

TEST(StatsJson, HasTheNumbersOfTheProcess) {
  Runtime runtime({.service = "shop", .threads = 2});
  const auto stats = boost::json::parse(stats_json(runtime));
  EXPECT_EQ(stats.at("service").as_string(), "shop");
  EXPECT_EQ(stats.at("pid").to_number<int>(), ::getpid());
  EXPECT_EQ(stats.at("threads").as_array().size(), 2u);
  EXPECT_EQ(stats.at("pools").as_array()[0].at("name").as_string(), "default");
}

}  // namespace
}  // namespace penstock
