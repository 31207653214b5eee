#include "controller/store/decision_fields.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <limits>

namespace penstock::controller {
namespace {

TEST(DecisionFields, NumbersStayNumbersAndEmptyFieldsAreLeftOut) {
  v1::Decision decision;
  decision.set_id(7);
  decision.mutable_time()->set_seconds(1);
  decision.set_kind("upstream");
  decision.set_name("A");
  decision.set_verdict("theirs");
  decision.set_confidence(0.5);
  auto& evidence = *decision.mutable_evidence()->mutable_fields();
  evidence["r"].set_number_value(0.25);
  EXPECT_EQ(boost::json::serialize(decision_fields(decision)),
            R"({"id":7,"decided":"1970-01-01T00:00:01Z","kind":"upstream","name":"A","verdict":"theirs",)"
            R"("confidence":5E-1,"evidence":{"r":2.5E-1}})");
}

TEST(DecisionFields, WhatJsonHasNoWordForIsNull) {
  v1::Decision decision;
  (*decision.mutable_evidence()->mutable_fields())["slope"].set_number_value(std::numeric_limits<double>::infinity());
  (*decision.mutable_evidence()->mutable_fields())["slope"].set_number_value(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(boost::json::serialize(decision_fields(decision)), R"({"id":0,"evidence":{"slope":null}})");
}

}  // namespace
}  // namespace penstock::controller
