#include "runtime/http/url.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace penstock::http {
namespace {

TEST(Url, SplitsIntoWhatACallNeeds) {
  const CallTarget plain = parse_url("http://Pay.Example.com/a%20b?c=d%26e#f");
  EXPECT_FALSE(plain.tls);
  EXPECT_EQ(plain.host, "pay.example.com");
  EXPECT_EQ(plain.port, 80);
  EXPECT_EQ(plain.authority, "Pay.Example.com");
  EXPECT_EQ(plain.target, "/a%20b?c=d%26e");

  const CallTarget tls = parse_url("https://h:8443");
  EXPECT_TRUE(tls.tls);
  EXPECT_EQ(tls.port, 8443);
  EXPECT_EQ(tls.target, "/");
  EXPECT_EQ(parse_url("https://h").port, 443);

  const CallTarget six = parse_url("http://[::1]:81/x");
  EXPECT_EQ(six.host, "::1");
  EXPECT_EQ(six.authority, "[::1]:81");
}

TEST(Url, RefusesWhatIsNone) {
  for (const char* url : {"", "/path", "host/path", "ftp://h/", "http://", "http:///x", "http://h:99999/",
                          "http://[::1]@:80", "http://h:0/", "http://u:p@h/", "http://h/a b", "http://h/\r\nX: y"}) {
    EXPECT_THROW(parse_url(url), std::invalid_argument) << url;
  }
}

}  // namespace
}  // namespace penstock::http
