#include "runtime/net/address_cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace penstock::net {
namespace {

using namespace std::chrono_literals;

const std::vector<std::string> kOne{"192.0.2.1"};
const Instant kStart{1h};

TEST(AddressCache, AnswersHoldForTheirTimeToLiveWithinBounds) {
  AddressCache cache;
  cache.keep("ten", kOne, 10s, kStart);
  EXPECT_FALSE(cache.find("ten", kStart + 9s)->stale(kStart + 9s));
  EXPECT_TRUE(cache.find("ten", kStart + 10s)->stale(kStart + 10s));
  cache.keep("none", kOne, 0s, kStart);
  EXPECT_FALSE(cache.find("none", kStart + 999ms)->stale(kStart + 999ms));
  cache.keep("hour", kOne, 3600s, kStart);
  EXPECT_TRUE(cache.find("hour", kStart + 30s)->stale(kStart + 30s));
  EXPECT_EQ(cache.find("other", kStart), nullptr);
}

TEST(AddressCache, AbsenceIsForgottenSoonAndNeverStale) {
  AddressCache cache;
  cache.keep("missing", {}, 3600s, kStart);
  EXPECT_TRUE(cache.find("missing", kStart + 1s)->addresses.empty());
  EXPECT_EQ(cache.find("missing", kStart + 2s), nullptr);
  EXPECT_EQ(cache.extend("missing", kStart + 2s), nullptr);
}

TEST(AddressCache, StaleAnswersCanBeExtendedForAWhile) {
  AddressCache cache;
  cache.keep("host", kOne, 10s, kStart);
  for (Instant now = kStart + 10s; now < kStart + 10min; now += 2s) {
    ASSERT_TRUE(cache.find("host", now)->stale(now));
    ASSERT_NE(cache.extend("host", now), nullptr);
    ASSERT_FALSE(cache.find("host", now + 1s)->stale(now + 1s));
  }
  EXPECT_EQ(cache.extend("host", kStart + 11min), nullptr);
}

TEST(AddressCache, IsBounded) {
  AddressCache cache;
  for (int i = 0; i < 3000; ++i) cache.keep("host" + std::to_string(i), kOne, 10s, kStart + i * 1ms);
  EXPECT_EQ(cache.size(), AddressCache::kMost);
  // The newest are there.
  EXPECT_NE(cache.find("host2999", kStart + 3s), nullptr);
  EXPECT_EQ(cache.find("host0", kStart + 3s), nullptr);
}

}  // namespace
}  // namespace penstock::net
