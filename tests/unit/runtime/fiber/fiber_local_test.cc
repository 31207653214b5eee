#include "penstock/fiber_local.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/group.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;

TEST(FiberLocal, OneForEachFiberAndThread) {
  static FiberLocal<int> number;
  *number = 7;
  for (unsigned count : {1u, 2u, 4u, 8u}) {
    Threads threads(count);
    std::vector<std::function<void()>> joins;
    for (unsigned i = 0; i < 32; ++i) {
      joins.push_back(threads.start(
          [i] {
            EXPECT_FALSE(number.has_value());
            EXPECT_EQ(*number, 0);
            *number = static_cast<int>(i);
            sleep_for(1ms);
            EXPECT_EQ(*number, static_cast<int>(i));
          },
          i % count));
    }
    for (auto& join : joins) join();
  }
  std::thread([] { EXPECT_EQ(*number, 0); }).join();
  EXPECT_EQ(*number, 7);
  number.reset();
  EXPECT_FALSE(number.has_value());
}

TEST(FiberLocal, IsNotHandedToTheNextFiber) {
  Threads threads;
  threads.run([] {
    FiberLocal<std::string> text;
    for (int i = 0; i < 20; ++i) {
      spawn("one", [&] {
        EXPECT_FALSE(text.has_value());
        text->append("x");
        EXPECT_EQ(*text, "x");
      }).join();
    }
  });
}

struct Traced {
  Traced(std::string* trace, char name) : trace(trace), name(name) {}
  Traced(Traced&& other) noexcept : trace(std::exchange(other.trace, nullptr)), name(other.name) {}
  ~Traced() {
    if (trace == nullptr) return;
    // On its fiber still, which may wait.
    yield();
    *trace += name;
  }
  std::string* trace;
  char name;
};

TEST(FiberLocal, DestroyedYoungestFirstBeforeTheJoinReturns) {
  Threads threads;
  threads.run([] {
    std::string trace;
    FiberLocal<Traced> a([&] { return Traced(&trace, 'a'); });
    FiberLocal<Traced> b([&] { return Traced(&trace, 'b'); });
    FiberLocal<Traced> c([&] { return Traced(&trace, 'c'); });
    spawn("uses", [&] { (void)b.get(), (void)c.get(), (void)a.get(); }).join();
    EXPECT_EQ(trace, "acb");
    trace.clear();
    spawn("resets", [&] {
      (void)a.get(), (void)b.get(), (void)c.get();
      b.reset();
      EXPECT_EQ(trace, "b");
      throw Cancelled("on its way out");
    });
    Group group;
    group.spawn("in a group", [&] { (void)a.get(), (void)b.get(); });
    group.join();
    EXPECT_EQ(trace.size(), 5u) << trace;
  });
}

TEST(FiberLocal, DestructorMayUseAnother) {
  static std::string trace;
  trace.clear();
  struct Other {
    ~Other() { trace += "other"; }
  };
  static FiberLocal<Other> other;
  struct User {
    ~User() { other.get(); }
  };
  static FiberLocal<User> user;
  const auto use = [] { user.get(); };
  Threads threads;
  threads.run(use);
  EXPECT_EQ(trace, "other");
  std::thread(use).join();
  EXPECT_EQ(trace, "otherother");
}

TEST(FiberLocal, PlaceOfADestroyedOneIsFreshForTheNext) {
  Threads threads;
  threads.run([] {
    auto counted = std::make_shared<int>(1);
    {
      std::optional<FiberLocal<std::shared_ptr<int>>> first(std::in_place, [&] { return counted; });
      EXPECT_EQ(first->get(), counted);
      first.reset();
      FiberLocal<std::shared_ptr<int>> second;
      EXPECT_FALSE(second.has_value());
      EXPECT_EQ(second.get(), nullptr);
    }
    EXPECT_EQ(counted.use_count(), 1);
  });
}

TEST(FiberLocal, FailureToMakeLeavesNone) {
  Threads threads;
  threads.run([] {
    bool fail = true;
    FiberLocal<int> number([&] {
      if (fail) throw std::runtime_error("not yet");
      return 5;
    });
    EXPECT_THROW(number.get(), std::runtime_error);
    EXPECT_FALSE(number.has_value());
    fail = false;
    EXPECT_EQ(*number, 5);
  });
}

}  // namespace
}  // namespace penstock::fiber
