#include "policy/print.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "penstock/v1/admin.pb.h"
#include "policy/yaml.h"
#include "tests/unit/policy/sample.h"

namespace penstock::policy {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

TEST(Print, ACanonicalPolicyIsPrintedAsItWasWritten) { EXPECT_EQ(to_yaml(parse_yaml(kShop, "f")->front()), kShop); }

TEST(Print, WhatTheControllerAddsIsReadBack) {
  v1::Policy policy = parse_yaml(kShop, "f")->front();
  policy.mutable_metadata()->set_revision(7);
  policy.mutable_metadata()->set_etag("0123");
  policy.mutable_metadata()->mutable_update_time()->set_seconds(1'700'000'000);
  policy.mutable_metadata()->mutable_update_time()->set_nanos(250'000'000);
  policy.mutable_status()->set_observed_revision(7);
  auto* condition = policy.mutable_status()->add_conditions();
  condition->set_type("Applied");
  condition->set_met(true);
  condition->set_message("2 of 2 nodes: \"all\"\n\tdone");
  const auto again = parse_yaml(to_yaml(policy), "f");
  ASSERT_TRUE(again.ok()) << again.status().message() << to_yaml(policy);
  EXPECT_TRUE(MessageDifferencer::Equals(policy, again->front())) << to_yaml(policy);
}

TEST(Print, TextThatLooksLikeSomethingElseIsQuoted) {
  for (const char* service :
       {"true",       "No",    "12",   "1e5", "null", "~",     "a: b", "- x", "#x", "",  " x", "x ",
        "2024-05-01", "12:30", "a\\b", "\"",  "\x01", "größe", "*x",   "&x",  "!x", "[", "{"}) {
    v1::Policy policy;
    policy.mutable_metadata()->set_name("a");
    policy.mutable_spec()->set_service("x");
    (*policy.mutable_metadata()->mutable_labels())["k"] = service;
    const auto again = parse_yaml(to_yaml(policy), "f");
    ASSERT_TRUE(again.ok()) << to_yaml(policy) << again.status().message();
    EXPECT_EQ(again->front().metadata().labels().at("k"), service);
  }
}

TEST(Print, OtherMessagesShowTheirZeros) {
  v1::PoolView pool;
  pool.set_name("default");
  pool.set_limit(64);
  EXPECT_THAT(to_yaml(pool), HasSubstr("limit: 64\ninFlight: 0\n"));
  EXPECT_THAT(to_json(pool), HasSubstr("\"inFlight\": 0"));
  EXPECT_EQ(to_json(pool, true).find('\n'), to_json(pool, true).size() - 1);
}

TEST(Print, EvidenceIsShown) {
  v1::Decision decision;
  decision.set_id(5);
  (*decision.mutable_evidence()->mutable_fields())["rate"].set_number_value(12.5);
  auto* list = (*decision.mutable_evidence()->mutable_fields())["steps"].mutable_list_value();
  list->add_values()->set_string_value("one");
  EXPECT_THAT(to_yaml(decision), HasSubstr("evidence:\n  rate: 12.5\n  steps:\n    - one\n"));
}

}  // namespace
}  // namespace penstock::policy
