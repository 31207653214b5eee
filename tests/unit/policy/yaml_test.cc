#include "policy/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/unit/own_path.h"
#include "tests/unit/policy/sample.h"

namespace penstock::policy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

// Every problem as penstockctl prints it.
std::vector<std::string> problems(std::string_view text) {
  std::vector<std::string> lines;
  for (const Problem& problem : parse_file(text).problems) lines.push_back(to_string(problem, "f"));
  return lines;
}

// A valid policy whose upstream has these fields as well (six spaces in front of them).
std::string with_upstream(const std::string& fields) {
  return "kind: Policy\nmetadata: {name: shop}\nspec:\n  service: shop\n  upstreams:\n    - name: a\n"
         "      match: {hosts: [a]}\n" +
         fields;
}

TEST(Yaml, ReadsThePolicyOfTheDocumentation) {
  const auto policies = parse_yaml(R"(kind: Policy
metadata: {name: shop}
spec:
  service: shop                         # and optional node labels
  pools:
    - {name: default, min: 64, max: 20000, memory: 2GiB, queue: {discipline: codel, max: 2000, maxWait: 1s}}
  routes:
    - {match: "/checkout/*", pool: default, priority: critical, deadline: 8s}
  upstreams:
    - name: payments
      match: {hosts: [pay.example.com]}
      limit: {mode: adaptive, min: 4, max: 5000}
      breaker: {slowCall: {over: 3s, ratio: 0.6}, errorRatio: 0.5, minCalls: 20, open: 5s, probes: 3}
      timeout: 5s
      retryBudget: 0.1
)",
                                   "shop.yaml");
  ASSERT_TRUE(policies.ok()) << policies.status().message();
  ASSERT_THAT(*policies, SizeIs(1));
  const v1::PolicySpec& spec = policies->front().spec();
  EXPECT_EQ(policies->front().metadata().name(), "shop");
  EXPECT_EQ(spec.pools(0).memory_bytes(), std::int64_t{2} << 30);
  EXPECT_EQ(spec.pools(0).queue().discipline(), v1::QUEUE_DISCIPLINE_CODEL);
  EXPECT_EQ(spec.pools(0).queue().max_wait().seconds(), 1);
  EXPECT_EQ(spec.routes(0).priority(), v1::PRIORITY_CRITICAL);
  EXPECT_EQ(spec.upstreams(0).match().hosts(0), "pay.example.com");
  EXPECT_EQ(spec.upstreams(0).breaker().slow_call().ratio(), 0.6);
  EXPECT_EQ(spec.upstreams(0).breaker().min_calls(), 20);
  EXPECT_FALSE(spec.upstreams(0).breaker().has_usefulness());
}

TEST(Yaml, ReadsEveryKindOfField) {
  EXPECT_THAT(problems(kShop), IsEmpty());
  const v1::Policy policy = parse_file(kShop).documents.at(0).policy();
  EXPECT_EQ(policy.metadata().labels().at("team"), "7");
  EXPECT_EQ(policy.spec().node_labels().at("zone"), "eu-1");
  EXPECT_EQ(policy.spec().mode(), v1::POLICY_MODE_SHADOW);
  EXPECT_EQ(policy.spec().pools(0).queue().discipline(), v1::QUEUE_DISCIPLINE_NEWEST_FIRST);
  EXPECT_EQ(policy.spec().pools(0).queue().target().nanos(), 50'000'000);
  EXPECT_EQ(policy.spec().pools(0).sizing().headroom(), 2.5);
  EXPECT_TRUE(policy.spec().upstreams(0).breaker().has_usefulness());
  EXPECT_EQ(policy.spec().upstreams(0).match().hosts(1), "127.0.0.1:8080");
}

TEST(Yaml, AnUnknownFieldIsNamedWithItsPlaceAndItsNeighbour) {
  EXPECT_THAT(problems(with_upstream("      breaker:\n        slowCal: {over: 3s}\n")),
              ElementsAre("f:9:9: breaker.slowCal: unknown field (did you mean slowCall?)"));
  EXPECT_THAT(problems(with_upstream("      nothingLikeIt: 1\n")),
              ElementsAre("f:8:7: upstreams[0].nothingLikeIt: unknown field"));
  EXPECT_THAT(problems("kind: Policy\nmetdata: {name: a}\nspec: {service: s}\n"),
              ElementsAre("f:2:1: metdata: unknown field (did you mean metadata?)"));
}

TEST(Yaml, ProtoNamesAreNotAccepted) {
  EXPECT_THAT(problems(with_upstream("      retry_budget: 0.1\n")),
              ElementsAre("f:8:7: upstreams[0].retry_budget: unknown field (did you mean retryBudget?)"));
}

TEST(Yaml, EveryProblemOfAFileIsReportedInOrder) {
  EXPECT_THAT(
      problems("kind: Policy\nmetadata: {name: 5}\nspec:\n  servce: shop\n  pools: {}\n  routes:\n    - mach: /\n"),
      ElementsAre("f:2:18: metadata.name: expected a text (put it in quotes), found the number 5",
                  "f:4:3: spec.servce: unknown field (did you mean service?)",
                  "f:5:10: spec.pools: expected a list, found fields",
                  "f:7:7: routes[0].mach: unknown field (did you mean match?)"));
}

TEST(Yaml, DuplicateKeysAreRefused) {
  EXPECT_THAT(problems(with_upstream("      timeout: 5s\n      timeout: 6s\n")),
              ElementsAre("f:9:7: upstreams[0].timeout: is given twice"));
  EXPECT_THAT(problems("kind: Policy\nkind: Policy\nmetadata: {name: a, labels: {x: y, x: z}}\nspec: {service: s}\n"),
              ElementsAre("f:2:1: kind: is given twice", "f:3:36: labels.x: is given twice"));
}

TEST(Yaml, NothingIsCoerced) {
  EXPECT_THAT(problems(with_upstream("      limit: {min: \"4\"}\n")),
              ElementsAre("f:8:20: limit.min: expected a whole number, found the text \"4\""));
  EXPECT_THAT(problems(with_upstream("      limit: {max: 5.0}\n")),
              ElementsAre("f:8:20: limit.max: expected a whole number, found the number 5.0"));
  EXPECT_THAT(problems(with_upstream("      breaker: {usefulness: yes}\n")),
              ElementsAre("f:8:29: breaker.usefulness: expected true or false, found yes"));
  EXPECT_THAT(problems(with_upstream("      retryBudget: ten\n")),
              ElementsAre("f:8:20: upstreams[0].retryBudget: expected a number, found \"ten\""));
  EXPECT_THAT(problems(with_upstream("      retryBudget: .nan\n")),
              ElementsAre("f:8:20: upstreams[0].retryBudget: expected a number, found the number .nan"));
  EXPECT_THAT(problems(with_upstream("      timeout: 5\n")),
              ElementsAre(HasSubstr("f:8:16: upstreams[0].timeout: \"5\" is not a duration")));
  EXPECT_THAT(problems(with_upstream("      timeout:\n")), ElementsAre("f:8:7: upstreams[0].timeout: has no value"));
  EXPECT_THAT(problems(with_upstream("      limit: {max: 3000000000}\n")),
              ElementsAre("f:8:20: limit.max: 3000000000 is out of range"));
}

TEST(Yaml, EnumsListTheirWords) {
  EXPECT_THAT(problems(with_upstream("      limit: {mode: fixd}\n")),
              ElementsAre("f:8:21: limit.mode: expected one of adaptive, fixed, found \"fixd\" (did you mean fixed?)"));
  EXPECT_THAT(problems(with_upstream("      limit: {mode: ADAPTIVE}\n")), SizeIs(1));
  // A word of the enum, although it is a boolean elsewhere.
  EXPECT_THAT(problems(with_upstream("      limit: {kneeTest: off}\n")), IsEmpty());
  EXPECT_THAT(problems(with_upstream("      limit: {mode: unspecified}\n")), SizeIs(1));
}

TEST(Yaml, ViolationsOfTheRulesStandWhereTheFieldStands) {
  EXPECT_THAT(problems(with_upstream("      breaker:\n        errorRatio: 50\n")),
              ElementsAre("f:9:21: breaker.errorRatio: 50 is out of range (0.01 to 1)"));
  // A field that is not written stands where its parent does.
  EXPECT_THAT(problems(with_upstream("      breaker:\n        slowCall: {ratio: 0.5}\n")),
              ElementsAre("f:9:19: slowCall.over: is required"));
  EXPECT_THAT(
      problems("kind: Policy\nmetadata: {name: a}\nspec:\n  service: s\n  pools:\n    - name: p\n      memory: 1\n"),
      ElementsAre("f:7:15: pools[0].memory: 1 bytes are too few (at least 1MiB)"));
}

TEST(Yaml, KindIsRequired) {
  EXPECT_THAT(problems("metadata: {name: a}\nspec: {service: s}\n"),
              ElementsAre("f:1:1: kind: is required: \"kind: Policy\""));
  EXPECT_THAT(problems("kind: Deployment\nmetadata: {name: a}\nspec: {service: s}\n"),
              ElementsAre("f:1:7: kind: expected Policy, found \"Deployment\""));
}

TEST(Yaml, AFileMayHoldSeveralPolicies) {
  const std::string a = "kind: Policy\nmetadata: {name: a}\nspec: {service: s}\n";
  const std::string b = "kind: Policy\nmetadata: {name: b}\nspec: {service: t}\n";
  EXPECT_THAT(*parse_yaml("---\n" + a + "---\n" + b + "---\n", "f"), SizeIs(2));
  EXPECT_THAT(problems(a + "---\n" + a),
              ElementsAre("f:6:18: metadata.name: an earlier policy of this file has the same name"));
}

TEST(Yaml, AnchorsAliasesAndTagsAreRefused) {
  EXPECT_THAT(problems(with_upstream("      limit: &l {min: 4}\n")),
              ElementsAre(HasSubstr("anchors are not accepted")));
  EXPECT_THAT(problems(with_upstream("      limit: &l {min: 4}\n      breaker: *l\n")),
              testing::Contains(HasSubstr("aliases are not accepted")));
  EXPECT_THAT(problems(with_upstream("      limit: !!map {min: 4}\n")),
              ElementsAre(HasSubstr("tags are not accepted")));
}

TEST(Yaml, SyntaxErrorsHaveAPlace) {
  EXPECT_THAT(problems("kind: Policy\nmetadata: {name: a\n"), testing::Contains(StartsWith("f:")));
  EXPECT_THAT(problems("\tkind: Policy\n"), testing::Contains(StartsWith("f:1:")));
}

TEST(Yaml, DepthIsBounded) {
  EXPECT_THAT(problems(std::string(100'000, '[')), ElementsAre(HasSubstr("is nested too deeply")));
}

TEST(Yaml, WhatIsNoPolicyAtAllIsRefused) {
  EXPECT_THAT(problems(""), ElementsAre("f: holds no policy"));
  EXPECT_THAT(problems("# nothing\n"), ElementsAre("f: holds no policy"));
  EXPECT_THAT(problems("just text"), ElementsAre(HasSubstr("expected a policy")));
  EXPECT_THAT(problems("- a\n- b\n"), ElementsAre(HasSubstr("expected a policy")));
  EXPECT_THAT(problems(std::string(kMaxFileBytes + 1, 'a')), ElementsAre("f: the file is larger than 1 MiB"));
}

TEST(Yaml, TextThatIsNotUtf8IsRefused) {
  EXPECT_THAT(problems("kind: Policy\nmetadata: {name: \"\xff\"}\n"), ElementsAre("f:2:19: is not UTF-8"));
  for (const char* bytes : {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"})
    EXPECT_THAT(problems(bytes), ElementsAre("f:1:1: is not UTF-8"));
}

TEST(Yaml, ControlCharactersAreRefused) {
  EXPECT_THAT(problems("kind: Policy\nmetadata: {name: \"\x1b\"}\n"), ElementsAre("f:2:19: holds a control character"));
  EXPECT_THAT(problems(std::string(",\0\0 2S\nb4: *x", 14)), ElementsAre("f:1:2: holds a control character"));
  EXPECT_THAT(problems("\x04"), ElementsAre("f:1:1: holds a control character"));
}

TEST(Yaml, TextThatTheParserGetsStuckAtIsRefused) {
  EXPECT_THAT(problems(","), testing::Contains("f:1:1: is no YAML"));
  EXPECT_THAT(problems("a[q=:]. b\n, c"), testing::Not(IsEmpty()));
}

TEST(Yaml, DeepNestingIsRefusedNotFatal) {
  EXPECT_THAT(problems(std::string(100'000, '[')), testing::Not(IsEmpty()));
  EXPECT_THAT(problems(std::string(100'000, '{')), testing::Not(IsEmpty()));
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += std::string(i, ' ') + "a:\n";
  EXPECT_THAT(problems(deep), testing::Not(IsEmpty()));
}

TEST(Yaml, TheStatusCarriesReasonAndEveryLine) {
  const auto result = parse_yaml(with_upstream("      timeot: 5s\n      limt: {}\n"), "shop.yaml");
  ASSERT_FALSE(result.ok());
  const auto error = errors::from_absl(result.status());
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason, errors::Reason::policy_invalid);
  EXPECT_EQ(error->message,
            "shop.yaml:8:7: upstreams[0].timeot: unknown field (did you mean timeout?)\n"
            "shop.yaml:9:7: upstreams[0].limt: unknown field (did you mean limit?)");
}

TEST(Yaml, LoadsTheOnePolicyOfAFile) {
  const std::string path = own_path("load.yaml");
  std::ofstream(path) << kShop;
  ASSERT_TRUE(load_policy(path).ok());
  EXPECT_EQ(load_policy(path)->metadata().name(), "shop");
  EXPECT_FALSE(load_policy(path + ".absent").ok());
  EXPECT_FALSE(load_policy(testing::TempDir()).ok());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace penstock::policy
