#include "policy/http_url.h"

#include <gtest/gtest.h>

namespace penstock::policy {
namespace {

TEST(HttpUrl, IsReadInItsParts) {
  const auto plain = parse_http_url("http://prometheus.internal:9090/a/b%20c//");
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->tls);
  EXPECT_EQ(plain->authority, "prometheus.internal:9090");
  EXPECT_EQ(plain->host, "prometheus.internal");
  EXPECT_EQ(plain->port, 9090);
  EXPECT_EQ(plain->prefix, "/a/b%20c");
  EXPECT_EQ(plain->text(), "http://prometheus.internal:9090/a/b%20c");

  const auto six = parse_http_url("https://[::1]");
  ASSERT_TRUE(six);
  EXPECT_TRUE(six->tls);
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->port, 443);
  EXPECT_EQ(six->prefix, "");
  EXPECT_EQ(six->text(), "https://[::1]");
  EXPECT_EQ(parse_http_url("http://[::1]:9090/")->port, 9090);
  EXPECT_EQ(parse_http_url("http://x")->port, 80);
}

TEST(HttpUrl, NothingElseIsOne) {
  for (const char* text : {"",
                           "x:9090",
                           "ftp://x",
                           "http://",
                           "http:///x",
                           "http://:9090",
                           "http://x:",
                           "http://x:0",
                           "http://x:65536",
                           "http://x:9o9",
                           "http://[::1",
                           "http://[::1]9090",
                           "http://[x]:1",
                           "http://[]:1",
                           "http://[1]:1",
                           "http://[:::]:1",
                           "http://a b",
                           "http://a%20b",
                           "http://user:secret@x",
                           "http://x?a=b",
                           "http://x/?a=b",
                           "http://x/#f",
                           "http://x/a b",
                           "http://x/%2",
                           "http://x/%zz",
                           "http://x/\n",
                           "http://x/\xc3\xa4"})
    EXPECT_FALSE(parse_http_url(text)) << text;
}

}  // namespace
}  // namespace penstock::policy
