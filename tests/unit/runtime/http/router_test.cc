#include "runtime/http/router.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace penstock::http {
namespace {

Response nothing(const Request&) { return {}; }

std::string matched(const Router& router, std::string_view path) {
  Router::Params params;
  const Route* route = router.find(path, "GET", params).route;
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
  const Router::Found get = router.find("/a", "GET", params);
  ASSERT_NE(get.handler, nullptr);
  EXPECT_EQ(router.find("/a", "HEAD", params).handler, get.handler);
  EXPECT_EQ(router.find("/a", "POST", params).handler, nullptr);
  EXPECT_EQ(router.find("/a", "POST", params).route, get.route);
  EXPECT_EQ(router.allowed("/a"), "GET, HEAD, PUT");
  EXPECT_NE(router.find("/any", "PATCH", params).handler, nullptr);
}

TEST(Router, RefusesMalformedPatternsAndDuplicates) {
  Router router;
  router.add("GET", "/a", {nothing});
  for (const char* pattern :
       {"", "a", "/a b", "/a?b", "/*/a", "/a*b", "/{a}/*", "/{}", "/{a", "/x{a}", "/{a}/{a}", "/caf\xe9"}) {
    EXPECT_THROW(router.add("GET", pattern, {nothing}), std::invalid_argument) << pattern;
  }
  EXPECT_THROW(router.add("GET", "/a", {nothing}), std::invalid_argument);
  EXPECT_THROW(router.add("G T", "/b", {nothing}), std::invalid_argument);
  // Other words for the same paths.
  router.add("GET", "/o/{id}", {nothing});
  router.add("PUT", "/o/{order}", {nothing});
  EXPECT_THROW(router.add("GET", "/o/{order}", {nothing}), std::invalid_argument);
  EXPECT_THROW(router.add("GET", "/%61", {nothing}), std::invalid_argument);
  EXPECT_THROW(router.add("GET", "/b", {}), std::invalid_argument);
}

// All ways of matching, told apart by going through the patterns one by one.
TEST(Router, FindsTheBestAmongMany) {
  const auto best = [](const std::vector<std::string>& patterns, const std::string& path) {
    std::string found = "-";
    std::size_t longest = 0;
    for (const std::string& pattern : patterns) {
      if (pattern == path) return pattern;
      const std::string prefix = pattern.substr(0, pattern.size() - 1);
      if (!pattern.ends_with('*') || !path.starts_with(prefix) || prefix.size() < longest) continue;
      found = pattern;
      longest = prefix.size();
    }
    return found;
  };
  std::mt19937 random(7);
  std::uniform_int_distribution<int> letter('a', 'c'), length(0, 6);
  const auto text = [&] {
    std::string text = "/";
    for (int i = length(random); i > 0; --i) text += letter(random) == 'c' ? '/' : static_cast<char>(letter(random));
    return text;
  };
  for (int round = 0; round < 50; ++round) {
    Router router;
    std::set<std::string> unique;
    for (int i = 0; i < 40; ++i) unique.insert(text() + (i % 2 == 0 ? "*" : ""));
    const std::vector<std::string> patterns(unique.begin(), unique.end());
    for (const std::string& pattern : patterns) router.add("GET", pattern, {nothing});
    for (int i = 0; i < 200; ++i) {
      const std::string path = text();
      EXPECT_EQ(matched(router, path), best(patterns, path)) << path;
    }
  }
}

TEST(Router, AHundredThousandPatternsAreFoundAtOnce) {
  Router router;
  for (int i = 0; i < 100'000; ++i) {
    const std::string n = std::to_string(i);
    router.add("GET", "/service" + n + "/{id}/lines/{line}", {nothing});
    if (i % 10 == 0) router.add("GET", "/static" + n + "/*", {nothing});
  }
  for (int i = 0; i < 100'000; i += 7) {
    const std::string n = std::to_string(i);
    EXPECT_EQ(matched(router, "/service" + n + "/1/lines/2"), "/service" + n + "/{id}/lines/{line} id=1 line=2");
    EXPECT_EQ(matched(router, "/static" + n + "/x"), i % 10 == 0 ? "/static" + n + "/*" : "-");
  }
}

}  // namespace
}  // namespace penstock::http
