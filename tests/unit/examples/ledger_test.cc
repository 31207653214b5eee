#include "examples/third_party/ledger.h"

#include <gtest/gtest.h>

namespace third_party {
namespace {

TEST(Ledger, TellsAnsweredFromAbandonedByTry) {
  Ledger ledger;
  {
    Ledger::Call answered(ledger, "4.1");
    Ledger::Call abandoned(ledger, "4.1");
    Ledger::Call anonymous(ledger, "");
    EXPECT_EQ(ledger.in_flight(), 3u);
    answered.answered();
    anonymous.answered();
  }
  EXPECT_EQ(ledger.in_flight(), 0u);
  EXPECT_EQ(ledger.total().begun, 3u);
  EXPECT_EQ(ledger.total().answered, 2u);
  EXPECT_EQ(ledger.total().cancelled, 1u);
  EXPECT_EQ(ledger.by_try(), "4.1 2 1 1\n");
}

}  // namespace
}  // namespace third_party
