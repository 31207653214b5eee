#include "agents/embedded/push_receiver.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "penstock/runtime.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::agent {
namespace {

using std::chrono::seconds;

v1::Policy shop(std::int64_t revision) {
  v1::Policy policy;
  policy.mutable_metadata()->set_name("shop");
  policy.mutable_metadata()->set_revision(revision);
  policy.mutable_spec()->set_service("shop");
  v1::Pool& pool = *policy.mutable_spec()->add_pools();
  pool.set_name("default");
  pool.set_max(20'000);
  pool.set_fallback_limit(640);
  v1::Upstream& upstream = *policy.mutable_spec()->add_upstreams();
  upstream.set_name("A");
  upstream.mutable_match()->add_hosts("a.example.com");
  return policy;
}

// A node of service "shop" to which epoch 7 pushed version 3 with revision 5 of its policy, for 10 s.
class Governed : public testing::Test {
 protected:
  Governed() {
    v1::Push first = push(7, 3);
    *first.mutable_policy() = shop(5);
    EXPECT_EQ(refusal(first), "");
  }

  v1::Push push(std::uint64_t epoch, std::uint64_t version) {
    v1::Push push;
    push.set_epoch(epoch);
    push.set_version(version);
    push.set_nonce(std::to_string(++nonces_));
    push.mutable_ttl()->set_seconds(10);
    return push;
  }
  static void limit(v1::Push& push, const std::string& pool, int limit) {
    v1::PoolDirective& directive = *push.add_pools();
    directive.set_pool(pool);
    directive.set_limit(limit);
  }
  static void force(v1::Push& push, const std::string& upstream, v1::BreakerOverride breaker) {
    v1::UpstreamDirective& directive = *push.add_upstreams();
    directive.set_upstream(upstream);
    directive.set_breaker(breaker);
    directive.set_reason("by a test");
  }

  // Name of the reason; empty when the push was taken.
  std::string refusal(const v1::Push& push) {
    const v1::Ack ack = receiver_.receive(push, now_);
    EXPECT_EQ(ack.nonce(), push.nonce());
    EXPECT_EQ(ack.version(), push.version());
    if (!ack.has_error()) return "";
    const auto error = errors::from_rpc(ack.error());
    return error ? std::string(errors::row(error->reason).name) : "none";
  }

  Runtime runtime_{RuntimeOptions{.service = "shop", .threads = 1}};
  PushReceiver receiver_{runtime_, [] {
                           decision::Policy local;
                           local.service = "shop";
                           local.pools.push_back({.name = "default", .fallback_limit = 99});
                           return local;
                         }()};
  Instant now_{std::chrono::hours(1)};
  int nonces_ = 0;
};

TEST_F(Governed, FollowsThePolicyAndItsFallback) {
  EXPECT_EQ(receiver_.policy_revision(), 5);
  EXPECT_EQ(runtime_.policy().name, "shop");
  EXPECT_EQ(runtime_.pool("default").limit(), 640);
}

TEST_F(Governed, DirectiveHoldsUntilTheLeaseEndsAndThenTheFallbackReturns) {
  v1::Push push = this->push(7, 4);
  limit(push, "default", 3000);
  EXPECT_EQ(refusal(push), "");
  EXPECT_EQ(runtime_.pool("default").limit(), 3000);

  now_ += seconds(9);
  EXPECT_FALSE(receiver_.expire(now_));
  EXPECT_EQ(refusal(this->push(7, 4)), "");
  EXPECT_EQ(runtime_.pool("default").limit(), 3000);
  EXPECT_EQ(receiver_.lease_left(now_), seconds(10));

  now_ += seconds(10);
  EXPECT_TRUE(receiver_.expire(now_));
  EXPECT_FALSE(receiver_.expire(now_));
  EXPECT_EQ(runtime_.pool("default").limit(), 640);
  EXPECT_EQ(receiver_.policy_revision(), 5);
  EXPECT_EQ(receiver_.lease_left(now_), Duration{});
}

TEST_F(Governed, APolicyInShadowStandsBesideUntilItIsTakenBack) {
  const auto watches = [&] { return runtime_.find_upstream("B") != nullptr; };
  v1::Push push = this->push(7, 4);
  *push.mutable_shadow_policy() = shop(1);
  push.mutable_shadow_policy()->mutable_metadata()->set_name("shop-next");
  push.mutable_shadow_policy()->mutable_spec()->set_mode(v1::POLICY_MODE_SHADOW);
  push.mutable_shadow_policy()->mutable_spec()->add_upstreams()->set_name("B");
  push.mutable_shadow_policy()->mutable_spec()->mutable_upstreams(1)->mutable_match()->add_hosts("b.example.com");
  EXPECT_EQ(refusal(push), "");
  EXPECT_TRUE(watches());
  EXPECT_EQ(runtime_.policy().name, "shop");
  EXPECT_EQ(refusal(this->push(7, 5)), "");
  EXPECT_TRUE(watches()) << "what a push does not name stays";

  v1::Push unusable = this->push(7, 6);
  *unusable.mutable_shadow_policy() = push.shadow_policy();
  unusable.mutable_shadow_policy()->mutable_spec()->mutable_upstreams(1)->set_name("");
  EXPECT_EQ(refusal(unusable), "") << "what only watches must not stand in the way of what acts";
  EXPECT_FALSE(watches());

  v1::Push again = this->push(7, 7);
  *again.mutable_shadow_policy() = push.shadow_policy();
  EXPECT_EQ(refusal(again), "");
  EXPECT_TRUE(watches());
  v1::Push withdrawn = this->push(7, 8);
  withdrawn.mutable_shadow_policy();
  EXPECT_EQ(refusal(withdrawn), "");
  EXPECT_FALSE(watches());
}

TEST_F(Governed, OlderEpochIsRefused) {
  v1::Push push = this->push(6, 100);
  limit(push, "default", 1);
  EXPECT_EQ(refusal(push), "EPOCH_STALE");
  EXPECT_EQ(runtime_.pool("default").limit(), 640);
  EXPECT_EQ(receiver_.epoch(), 7u);
}

TEST_F(Governed, NewerEpochMayBeginVersionsAnew) { EXPECT_EQ(refusal(push(8, 1)), ""); }

TEST_F(Governed, VersionGoingBackIsRefused) {
  EXPECT_EQ(refusal(push(7, 2)), "VERSION_STALE");
  EXPECT_EQ(refusal(push(7, 3)), "");
}

TEST_F(Governed, OlderRevisionIsRefused) {
  v1::Push push = this->push(7, 4);
  *push.mutable_policy() = shop(4);
  EXPECT_EQ(refusal(push), "VERSION_STALE");
  EXPECT_EQ(receiver_.policy_revision(), 5);
}

TEST_F(Governed, ReplayedNonceIsRefusedWithinAStream) {
  v1::Push push = this->push(7, 4);
  push.set_nonce("again");
  EXPECT_EQ(refusal(push), "");
  EXPECT_EQ(refusal(push), "NONCE_REPLAYED");
  receiver_.open_stream();
  EXPECT_EQ(refusal(push), "");
}

TEST_F(Governed, MissingNonceOrTtlOrOneOutOfRangeIsRefused) {
  v1::Push push = this->push(7, 4);
  push.clear_nonce();
  EXPECT_EQ(refusal(push), "DIRECTIVE_INVALID");
  push = this->push(7, 4);
  push.clear_ttl();
  EXPECT_EQ(refusal(push), "DIRECTIVE_INVALID");
  push = this->push(7, 4);
  push.mutable_ttl()->set_seconds(601);
  EXPECT_EQ(refusal(push), "DIRECTIVE_INVALID");
}

TEST_F(Governed, InvalidPolicyChangesNothing) {
  v1::Push push = this->push(7, 4);
  *push.mutable_policy() = shop(6);
  push.mutable_policy()->mutable_spec()->mutable_pools(0)->set_min(0);
  limit(push, "default", 5);
  EXPECT_EQ(refusal(push), "POLICY_INVALID");
  EXPECT_EQ(receiver_.policy_revision(), 5);
  EXPECT_EQ(receiver_.version(), 3u);
  EXPECT_EQ(runtime_.pool("default").limit(), 640);
}

TEST_F(Governed, PolicyOfAnotherServiceIsRefused) {
  v1::Push push = this->push(7, 4);
  *push.mutable_policy() = shop(6);
  push.mutable_policy()->mutable_spec()->set_service("bakery");
  EXPECT_EQ(refusal(push), "POLICY_INVALID");
}

TEST_F(Governed, OneBadDirectiveRefusesThemAll) {
  v1::Push push = this->push(7, 4);
  limit(push, "default", 3000);
  force(push, "nobody", v1::BREAKER_OVERRIDE_FORCE_OPEN);
  EXPECT_EQ(refusal(push), "DIRECTIVE_INVALID");
  EXPECT_EQ(runtime_.pool("default").limit(), 640);

  push = this->push(7, 4);
  limit(push, "default", 0);
  EXPECT_EQ(refusal(push), "DIRECTIVE_INVALID");
  EXPECT_EQ(receiver_.refused(), 2u);
  EXPECT_EQ(receiver_.refusal(), "DIRECTIVE_INVALID");
}

TEST_F(Governed, ForcedBreakerOpensAndReturnsToAutomatic) {
  v1::Push push = this->push(7, 4);
  force(push, "A", v1::BREAKER_OVERRIDE_FORCE_OPEN);
  EXPECT_EQ(refusal(push), "");
  EXPECT_EQ(runtime_.find_upstream("A")->breaker(), decision::BreakerState::open);
  push = this->push(7, 5);
  force(push, "A", v1::BREAKER_OVERRIDE_FORCE_CLOSED);
  EXPECT_EQ(refusal(push), "");
  EXPECT_EQ(runtime_.find_upstream("A")->breaker(), decision::BreakerState::closed);
}

TEST_F(Governed, AFleetThatLeadsSetsTheLimitOfTheGuard) {
  const auto guard = [&] {
    for (const auto& upstream : runtime_.stats().upstreams) {
      if (upstream.name == "A") return upstream;
    }
    return Runtime::UpstreamStats{};
  };
  const auto lead = [&](std::uint64_t version, std::optional<int> limit, bool leads) {
    v1::Push push = this->push(7, version);
    v1::UpstreamDirective& directive = *push.add_upstreams();
    directive.set_upstream("A");
    if (limit) directive.set_limit(*limit);
    directive.set_tight(true);
    directive.set_fleet_leads(leads);
    EXPECT_EQ(refusal(push), "");
  };
  // Below the policy's min: a fleet that leads knows how many nodes there are.
  lead(4, 2, true);
  EXPECT_TRUE(guard().fleet_leads);
  EXPECT_EQ(guard().limit, 2);
  EXPECT_EQ(guard().bound_by, "directive");
  lead(5, 2, false);
  EXPECT_FALSE(guard().fleet_leads);
  EXPECT_EQ(guard().limit, decision::LimitPolicy{}.min);
  lead(6, std::nullopt, true);
  EXPECT_TRUE(guard().fleet_leads);
  EXPECT_EQ(guard().limit, decision::LimitPolicy{}.max);
}

TEST_F(Governed, WhatTheFleetExpectsHoldsUntilItIsTakenBackOrTheLeaseEnds) {
  const auto usual = [&] {
    for (const auto& upstream : runtime_.stats().upstreams) {
      if (upstream.name == "A") return std::pair(upstream.expected_latency, upstream.usual_latency);
    }
    return std::pair(decision::Duration{}, decision::Duration{});
  };
  const auto expect = [&](std::uint64_t version, std::optional<std::chrono::milliseconds> latency) {
    v1::Push push = this->push(7, version);
    v1::UpstreamDirective& directive = *push.add_upstreams();
    directive.set_upstream("A");
    if (latency) *directive.mutable_expected_latency() = policy::to_proto(*latency);
    return refusal(push);
  };
  constexpr std::chrono::milliseconds kLatency{200};
  EXPECT_EQ(expect(4, kLatency), "");
  EXPECT_EQ(usual(), std::pair(decision::Duration(kLatency), decision::Duration(kLatency)));
  EXPECT_EQ(expect(5, std::nullopt), "");
  EXPECT_EQ(usual().first, decision::Duration::zero());
  EXPECT_EQ(usual().second, kLatency);
  EXPECT_EQ(expect(6, 2 * kLatency), "");
  EXPECT_TRUE(receiver_.expire(now_ + seconds(11)));
  EXPECT_EQ(usual().first, decision::Duration::zero());
  EXPECT_EQ(usual().second, 2 * kLatency);

  EXPECT_EQ(expect(7, std::chrono::milliseconds(0)), "DIRECTIVE_INVALID");
  EXPECT_EQ(expect(7, -kLatency), "DIRECTIVE_INVALID");
  EXPECT_EQ(expect(7, std::chrono::hours(2)), "DIRECTIVE_INVALID");
}

TEST_F(Governed, RepeatedTripTripsOnce) {
  const auto trips = [&] {
    int count = 0;
    for (const auto& event : runtime_.take_breaker_events()) {
      count += event.transition.to == decision::BreakerState::open;
    }
    return count;
  };
  v1::Push push = this->push(7, 4);
  force(push, "A", v1::BREAKER_OVERRIDE_TRIP);
  EXPECT_EQ(refusal(push), "");
  EXPECT_EQ(trips(), 1);
  push.set_nonce("renewed");
  EXPECT_EQ(refusal(push), "");
  EXPECT_EQ(trips(), 0);
}

TEST_F(Governed, WithdrawnPolicyBringsBackTheLocalOne) {
  v1::Push push = this->push(7, 4);
  push.mutable_policy();
  EXPECT_EQ(refusal(push), "");
  EXPECT_EQ(receiver_.policy_revision(), 0);
  EXPECT_EQ(runtime_.pool("default").limit(), 99);
}

TEST_F(Governed, DrainFollowsThePush) {
  v1::Push push = this->push(7, 4);
  push.set_drain(true);
  EXPECT_EQ(refusal(push), "");
  EXPECT_TRUE(runtime_.draining());
  EXPECT_EQ(refusal(this->push(7, 5)), "");
  EXPECT_TRUE(runtime_.draining());
  push = this->push(7, 6);
  push.set_drain(false);
  EXPECT_EQ(refusal(push), "");
  EXPECT_FALSE(runtime_.draining());
}

}  // namespace
}  // namespace penstock::agent
