#include "runtime/http/message.h"

#include <gtest/gtest.h>

#include <string>

#include "runtime/http/request_target.h"

namespace penstock::http {
namespace {

TEST(Message, HeadCarriesWhatTheHandlerSaidAndFramesItself) {
  Response response = Response::text("hi", 201);
  response.headers.emplace_back("X-Kind", "a");
  response.headers.emplace_back("content-length", "9999");
  response.headers.emplace_back("Transfer-Encoding", "chunked");
  std::string head;
  append_head(head, response.status, response.headers, {Framing::length, 2}, Persistence::close);
  EXPECT_TRUE(head.starts_with("HTTP/1.1 201 Created\r\nDate: "));
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_NE(head.find("\r\nX-Kind: a\r\n"), std::string::npos);
  EXPECT_NE(head.find("\r\nContent-Length: 2\r\n"), std::string::npos);
  EXPECT_NE(head.find("\r\nConnection: close\r\n"), std::string::npos);
  EXPECT_EQ(head.find("9999"), std::string::npos);
  EXPECT_EQ(head.find("chunked"), std::string::npos);
}

TEST(Message, AnswersWithoutBodyHaveNoLength) {
  for (const int status : {204, 304}) {
    Response response;
    response.status = status;
    std::string head;
    append_head(head, response.status, response.headers, {}, Persistence::keep);
    EXPECT_EQ(head.find("Content-Length"), std::string::npos) << status;
  }
}

TEST(Message, KnowsWhatCannotBeSent) {
  Response response;
  EXPECT_EQ(why_unsound(response.status, response.headers), "");
  response.headers = {{"X-A", "one\r\nSet-Cookie: two"}};
  EXPECT_EQ(why_unsound(response.status, response.headers), "a malformed value of the header X-A");
  response.headers = {{"X A", "one"}};
  EXPECT_EQ(why_unsound(response.status, response.headers), "a malformed name of a header");
  response.headers.clear();
  for (const int status : {0, 100, 199, 600}) {
    response.status = status;
    EXPECT_EQ(why_unsound(response.status, response.headers), "a status that is not in [200, 599]") << status;
  }
}

TEST(Message, ComparesTokensWithoutCase) {
  EXPECT_TRUE(same_token("Content-Type", "content-TYPE"));
  EXPECT_FALSE(same_token("Content-Type", "Content-Typ"));
  EXPECT_TRUE(list_has("keep-alive, Close", "close"));
  EXPECT_FALSE(list_has("enclose", "close"));
  const Response response = Response::json("{}");
  EXPECT_EQ(response.header("content-type"), "application/json");
  EXPECT_EQ(response.header("x"), "");
}

TEST(Message, PathOfEveryFormOfTarget) {
  EXPECT_EQ(path_of("/a/b?c=d"), "/a/b");
  EXPECT_EQ(path_of("http://host:80/a?b"), "/a");
  EXPECT_EQ(path_of("http://host"), "/");
  EXPECT_EQ(path_of("http://host?x=/y"), "/");
  EXPECT_EQ(path_of("*"), "*");
  // No scheme comes before these.
  EXPECT_EQ(path_of("x?u=://host/a"), "x");
  EXPECT_EQ(path_of("x/y://host/a"), "x/y://host/a");
  EXPECT_EQ(path_of("://host/a"), "://host/a");
}

TEST(Message, EncodesWhatWouldMeanSomethingInAUrl) {
  EXPECT_EQ(percent_encode("a-Z_0.~"), "a-Z_0.~");
  EXPECT_EQ(percent_encode("a/b?c#d%e f+g&h=\r\n"), "a%2Fb%3Fc%23d%25e%20f%2Bg%26h%3D%0D%0A");
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(percent_decode(percent_encode(all), false), all);
  EXPECT_EQ(percent_decode(percent_encode(all), true), all);
}

TEST(Message, PathsWithTheSameMeaningAreEqual) {
  EXPECT_EQ(canonical_path("/a%2fb%c3%A9%7e%20%25"), "/a%2Fb\xc3\xa9~ %25");
  // What is no escape cannot become one.
  EXPECT_EQ(canonical_path("/%zz%2%35%"),
            "/%25zz%252"
            "5%25");
  for (const char* path : {"/", "/%2%35", "/%25%32%66", "/%%41", "/a%2Fb%252F"}) {
    EXPECT_EQ(percent_decode(canonical_path(path), false), percent_decode(path, false)) << path;
    EXPECT_EQ(canonical_path(canonical_path(path)), canonical_path(path)) << path;
  }
}

TEST(Message, DecodesWhatIsWellFormed) {
  EXPECT_EQ(percent_decode("a%2Fb%20c+d", false), "a/b c+d");
  EXPECT_EQ(percent_decode("a+b%2b", true), "a b+");
  EXPECT_EQ(percent_decode("100%", true), "100%");
  EXPECT_EQ(percent_decode("%zz%4", true), "%zz%4");
}

}  // namespace
}  // namespace penstock::http
