#include "agents/embedded/backoff.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>

namespace penstock::agent {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, DoublesUpToTheMostAndStaysWithinHalfOfIt) {
  Backoff backoff(milliseconds(200), milliseconds(5'000), 1);
  for (const int base : {200, 400, 800, 1600, 3200, 5000, 5000, 5000}) {
    const auto delay = backoff.next();
    EXPECT_GE(delay, milliseconds(base / 2));
    EXPECT_LE(delay, milliseconds(base));
  }
}

TEST(Backoff, BeginsAnewAfterReset) {
  Backoff backoff(milliseconds(200), milliseconds(5'000), 1);
  for (int i = 0; i < 6; ++i) backoff.next();
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(200));
}

TEST(Backoff, NodesDoNotReturnTogether) {
  std::set<milliseconds> delays;
  for (int seed = 1; seed <= 20; ++seed) delays.insert(Backoff(milliseconds(200), milliseconds(5'000), seed).next());
  EXPECT_GT(delays.size(), 10u);
}

}  // namespace
}  // namespace penstock::agent
