#include "controller/service/page.h"

#include <gtest/gtest.h>

#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

errors::Reason reason(const absl::StatusOr<Page>& page) { return errors::from_absl(page.status())->reason; }

TEST(Page, GoesOnWhereTheLastOneEnded) {
  const auto first = Page::read("pools/shop", 0, "");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->size(), 100);
  EXPECT_EQ(first->cursor(), "");
  const auto second = Page::read("pools/shop", 7, first->next("shop/default"));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->size(), 7);
  EXPECT_EQ(second->cursor(), "shop/default");
}

TEST(Page, RefusesTokensOfOtherListsAndInventedOnes) {
  const std::string token = Page::read("pools/shop", 0, "")->next("shop/default");
  EXPECT_EQ(reason(Page::read("pools/other", 0, token)), errors::Reason::page_token_invalid);
  EXPECT_EQ(reason(Page::read("pools/shop", 0, "%%%")), errors::Reason::page_token_invalid);
  EXPECT_EQ(reason(Page::read("pools/shop", 0, "abcd")), errors::Reason::page_token_invalid);
}

TEST(Page, RefusesSizesOutOfRange) {
  EXPECT_EQ(reason(Page::read("x", -1, "")), errors::Reason::argument_invalid);
  EXPECT_EQ(reason(Page::read("x", 1001, "")), errors::Reason::argument_invalid);
  EXPECT_TRUE(Page::read("x", 1000, "").ok());
}

}  // namespace
}  // namespace penstock::controller
