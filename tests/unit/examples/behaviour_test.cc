#include "examples/third_party/behaviour.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace third_party {
namespace {

std::string refusal(std::string_view json) {
  try {
    parse_behaviour(json);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "taken";
}

TEST(Behaviour, WhatIsNotNamedIsWell) {
  const Behaviour behaviour = parse_behaviour(R"({"latency_median_ms": 5000, "capacity": 3, "max_rate": null})");
  EXPECT_EQ(behaviour.latency_median_ms, 5000);
  EXPECT_EQ(behaviour.latency_sigma, 0.3);
  EXPECT_EQ(behaviour.capacity, 3);
  EXPECT_EQ(behaviour.max_rate, std::nullopt);
  EXPECT_FALSE(behaviour.blackhole);
}

TEST(Behaviour, IsShownAsItIsTaken) {
  constexpr std::string_view kAll =
      R"({"latency_median_ms":20,"latency_sigma":0.1,"error_ratio":0.5,"capacity":7,"collapse_above":9,)"
      R"("max_rate":12.5,"retry_after_s":2,"blackhole":true})";
  const std::string shown = to_json(parse_behaviour(kAll));
  EXPECT_EQ(to_json(parse_behaviour(shown)), shown);
  EXPECT_NE(shown.find("\"collapse_above\":9"), std::string::npos) << shown;
  EXPECT_NE(shown.find("\"blackhole\":true"), std::string::npos) << shown;
}

TEST(Behaviour, RefusesNamingTheMember) {
  EXPECT_EQ(refusal(R"({"latency": 5})"), "latency: unknown member");
  EXPECT_EQ(refusal(R"({"blackhole": 1})"), "blackhole: not true or false");
  EXPECT_EQ(refusal(R"({"capacity": 1.5})"), "capacity: not an integer");
  EXPECT_EQ(refusal(R"({"error_ratio": 1.5})").substr(0, 24), "error_ratio: not between");
  EXPECT_EQ(refusal("[]"), "not a JSON object");
  EXPECT_EQ(refusal("{").substr(0, 8), "not JSON");
}

}  // namespace
}  // namespace third_party
