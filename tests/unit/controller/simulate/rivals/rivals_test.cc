#include "controller/simulate/rivals/rivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

namespace penstock::simulate {
namespace {

std::vector<std::string_view> names(std::string_view list) {
  std::vector<std::string_view> names;
  for (const Rival* rival : parse_rivals(list)) names.push_back(rival->name);
  return names;
}

TEST(Rivals, AllNoneOrAListInTheOrderOfTheTable) {
  EXPECT_EQ(parse_rivals("all").size(), rivals().size());
  EXPECT_TRUE(parse_rivals("none").empty());
  EXPECT_EQ(names("envoy-fair,vegas,envoy-fair"), (std::vector<std::string_view>{"vegas", "envoy-fair"}));
}

TEST(Rivals, AnUnknownNameIsAnErrorThatListsTheKnown) {
  for (const char* list : {"", "vegas,", "Vegas", "vegas,nobody"}) {
    try {
      parse_rivals(list);
      ADD_FAILURE() << list;
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("threads-640, unlimited, vegas, vegas-fair"));
    }
  }
}

TEST(Rivals, EveryOneHasASourceAndAFairForm) {
  std::set<std::string_view> all;
  for (const Rival& rival : rivals()) {
    EXPECT_TRUE(all.insert(rival.name).second) << rival.name;
    EXPECT_FALSE(rival.source.empty()) << rival.name;
    EXPECT_FALSE(rival.composed.empty()) << rival.name;
  }
  for (const Rival& rival : rivals()) {
    const std::string name(rival.name);
    if (name.ends_with("-fair")) {
      EXPECT_TRUE(rival.composition.deadlines) << name;
      EXPECT_EQ(rival.composition.threads, 0) << name;
      EXPECT_FALSE(rival.composition.door) << name;
      EXPECT_TRUE(rival.composition.upstream) << name;
    } else if (name != "threads-640" && name != "unlimited" && name != "gradient2-upstream") {
      EXPECT_TRUE(all.contains(name + "-fair")) << name;
      EXPECT_FALSE(rival.composition.deadlines) << name;
    }
  }
}

TEST(Rivals, TheirPartsCanBeMade) {
  for (const Rival& rival : rivals()) {
    if (rival.composition.door) {
      EXPECT_TRUE(rival.composition.door(1).limiter) << rival.name;
    }
    if (rival.composition.upstream) {
      EXPECT_TRUE(rival.composition.upstream(1).limiter) << rival.name;
    }
  }
}

}  // namespace
}  // namespace penstock::simulate
