// Only built for AddressSanitizer: that it sees when something outlives the fiber on whose stack it lived.

#include <gtest/gtest.h>

#include "penstock/fiber.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

void read_from_an_ended_fiber() {
  Threads threads;
  threads.run([] {
    volatile int* left = nullptr;
    spawn("ended", [&] {
      volatile int local = 1;
      left = &local;
    }).join();
    // The dispatcher frees ended fibers when it has its turn.
    sleep_for(std::chrono::milliseconds(1));
    [[maybe_unused]] const int read = *left;
  });
}

TEST(AddressSanitizerDeathTest, FindsTheUseOfAnEndedFibersStack) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(read_from_an_ended_fiber(), "use-after-poison");
}

}  // namespace
}  // namespace penstock::fiber
