#include "runtime/http/router.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace penstock::http {
namespace {

Response nothing(const Request&) { return {}; }

std::string matched(const Router& router, std::string_view path) {
  Router::Params params;
  const Route* route = router.find(path, params);
  if (route == nullptr) return "-";
  std::string text = route->pattern;
  for (const auto& [name, value] : params) text += " " + std::string(name) + "=" + value;
  return text;
}

TEST(Router, PrefersExactThenParametersThenTheLongestPrefix) {
  Router router;
  router.add("GET", "/*", {nothing});
  router.add("GET", "/orders/*", {nothing});
  router.add("GET", "/orders/{id}", {nothing});
  router.add("GET", "/orders/new", {nothing});
  router.add("GET", "/orders/{id}/lines/{line}", {nothing});
  EXPECT_EQ(matched(router, "/orders/new"), "/orders/new");
  EXPECT_EQ(matched(router, "/orders/17"), "/orders/{id} id=17");
  EXPECT_EQ(matched(router, "/orders/17/lines/a%20b"), "/orders/{id}/lines/{line} id=17 line=a b");
  EXPECT_EQ(matched(router, "/orders/17/else"), "/orders/*");
  EXPECT_EQ(matched(router, "/orders/"), "/orders/*");
  EXPECT_EQ(matched(router, "/"), "/*");
}

TEST(Router, PrefersLiteralSegments) {
  Router router;
  router.add("", "/{a}/x", {nothing});
  router.add("", "/b/{c}", {nothing});
  EXPECT_EQ(matched(router, "/b/x"), "/b/{c} c=x");
  EXPECT_EQ(matched(router, "/a/x"), "/{a}/x a=a");
  EXPECT_EQ(matched(router, "/a/y"), "-");
}

TEST(Router, MatchesMethods) {
  Router router;
  router.add("GET", "/a", {nothing});
  router.add("PUT", "/a", {nothing});
  router.add("", "/any", {nothing});
  Router::Params params;
  const Route* route = router.find("/a", params);
  ASSERT_NE(route, nullptr);
  EXPECT_NE(route->handler("GET"), nullptr);
  EXPECT_EQ(route->handler("HEAD"), route->handler("GET"));
  EXPECT_EQ(route->handler("POST"), nullptr);
  EXPECT_EQ(route->allowed(), "GET, PUT, HEAD");
  EXPECT_NE(router.find("/any", params)->handler("PATCH"), nullptr);
}

TEST(Router, RefusesMalformedPatternsAndDuplicates) {
  Router router;
  router.add("GET", "/a", {nothing});
  for (const char* pattern : {"", "a", "/a b", "/a?b", "/*/a", "/a*b", "/{a}/*", "/{}", "/{a", "/x{a}", "/{a}/{a}"}) {
    EXPECT_THROW(router.add("GET", pattern, {nothing}), std::invalid_argument) << pattern;
  }
  EXPECT_THROW(router.add("GET", "/a", {nothing}), std::invalid_argument);
  EXPECT_THROW(router.add("G T", "/b", {nothing}), std::invalid_argument);
  EXPECT_THROW(router.add("GET", "/b", {}), std::invalid_argument);
}

}  // namespace
}  // namespace penstock::http
