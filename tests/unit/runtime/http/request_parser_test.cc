#include "runtime/http/request_parser.h"

#include <gmock/gmock.h>

#include <string>
#include <string_view>

#include "tests/unit/runtime/http/parsed.h"

namespace penstock::http {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(RequestParser, HeadIsTheSameHoweverItComes) {
  const std::string text =
      "POST /a?b=c%20d HTTP/1.1\r\nHost: t\r\nX-Empty:\r\nX-Blanks: \t a  b\t \r\nx-b\xe4r: no\r\nContent-Length: "
      "3\r\n\r\nabc";
  EXPECT_EQ(parse_request(text, text.size()).error, ParseError::field_name);
  std::string sound = text;
  sound.replace(sound.find("x-b\xe4r: no"), 9, "X-Long: a value that is longer than what is looked at at a time, \xe4");
  for (std::size_t piece = 1; piece <= sound.size(); ++piece) {
    const Message message = parse_request(sound + "GET", piece);
    ASSERT_TRUE(message.complete) << "in pieces of " << piece;
    EXPECT_EQ(message.method, "POST");
    EXPECT_EQ(message.target, "/a?b=c%20d");
    EXPECT_THAT(message.headers,
                ElementsAre(Pair("Host", "t"), Pair("X-Empty", ""), Pair("X-Blanks", "a  b"),
                            Pair("X-Long", "a value that is longer than what is looked at at a time, \xe4"),
                            Pair("Content-Length", "3")));
    EXPECT_EQ(message.body, "abc");
    EXPECT_EQ(message.used, sound.size());
  }
}

TEST(RequestParser, FoldedValuesBecomeOneLine) {
  const Message message =
      parse_request("GET / HTTP/1.1\r\nA: one\r\n two \r\n\t three\r\nHost: t\r\nB:\r\n four\r\n\r\n", 1);
  EXPECT_THAT(message.headers, ElementsAre(Pair("A", "one two three"), Pair("Host", "t"), Pair("B", "four")));
}

// What could be taken for another message by what stands before us, or behind us.
TEST(RequestParser, WhatEndsInTwoWaysIsRefused) {
  const auto error_of = [](std::string_view fields, std::string_view rest = "") {
    return parse_request("POST / HTTP/1.1\r\nHost: t\r\n" + std::string(fields) + "\r\n" + std::string(rest), 1000)
        .error;
  };
  EXPECT_EQ(error_of("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), ParseError::length_and_encoding);
  EXPECT_EQ(error_of("Transfer-Encoding: gzip\r\nContent-Length: 3\r\n"), ParseError::length_and_encoding);
  EXPECT_EQ(error_of("Content-Length: 3\r\nContent-Length: 4\r\n"), ParseError::lengths);
  EXPECT_EQ(error_of("Content-Length: 3, 4\r\n"), ParseError::lengths);
  EXPECT_EQ(error_of("Content-Length: 3,\r\n"), ParseError::length);
  EXPECT_EQ(error_of("Content-Length: +3\r\n"), ParseError::length);
  EXPECT_EQ(error_of("Content-Length: 0x3\r\n"), ParseError::length);
  EXPECT_EQ(error_of("Content-Length:\r\n"), ParseError::length);
  EXPECT_EQ(error_of("Content-Length: 18446744073709551616\r\n"), ParseError::length);
  EXPECT_EQ(error_of("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), ParseError::none);
  EXPECT_EQ(error_of("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), ParseError::encoding);
  EXPECT_EQ(error_of("Transfer-Encoding: chunked, gzip\r\n"), ParseError::encoding);
  EXPECT_EQ(error_of("X: a\nContent-Length: 3\r\n"), ParseError::field_value);
  EXPECT_EQ(error_of("X: a\rContent-Length: 3\r\n"), ParseError::line_end);
  EXPECT_EQ(error_of("Content-Length : 3\r\n"), ParseError::field_name);
  EXPECT_EQ(error_of(" Content-Length: 3\r\n"), ParseError::none) << "a part of the value before it";
  EXPECT_EQ(error_of(std::string_view("X: a\0b\r\n", 8)), ParseError::field_value);
}

TEST(RequestParser, ChunksThatMayMeanTwoThingsAreRefused) {
  const auto error_of = [](std::string_view body) {
    return parse_request("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(body), 1000)
        .error;
  };
  EXPECT_EQ(error_of("3;a;b = c;d=\"e\\\";\"\r\nabc\r\n0;x\r\nA: b\r\n\r\n"), ParseError::none);
  EXPECT_EQ(error_of("3\nabc\r\n0\r\n\r\n"), ParseError::chunk_extension);
  EXPECT_EQ(error_of("3;a\nb\r\nabc\r\n0\r\n\r\n"), ParseError::chunk_extension);
  EXPECT_EQ(error_of("3 \r\nabc\r\n0\r\n\r\n"), ParseError::chunk_extension);
  EXPECT_EQ(error_of("3\rabc"), ParseError::line_end);
  EXPECT_EQ(error_of("0x3\r\nabc\r\n0\r\n\r\n"), ParseError::chunk_extension);
  EXPECT_EQ(error_of("-3\r\nabc\r\n0\r\n\r\n"), ParseError::chunk);
  EXPECT_EQ(error_of("\r\nabc\r\n0\r\n\r\n"), ParseError::chunk);
  EXPECT_EQ(error_of("3\r\nabcd\r\n0\r\n\r\n"), ParseError::chunk);
  EXPECT_EQ(error_of("10000000000000003\r\nabc\r\n0\r\n\r\n"), ParseError::chunk);
  EXPECT_EQ(error_of("0\r\nContent-Length: 3\r\n\r\n"), ParseError::trailer);
}

TEST(RequestParser, BoundsAreThoseOfTheWholeHeadAndBody) {
  const std::string head = "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string text = head + "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n";
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, text.size()}) {
    EXPECT_TRUE(parse_request(text, piece, {.head = head.size(), .body = 5}).complete);
    EXPECT_EQ(parse_request(text, piece, {.head = head.size() - 1, .body = 5}).error, ParseError::header_limit);
    EXPECT_EQ(parse_request(text, piece, {.head = head.size(), .body = 4}).error, ParseError::body_limit);
  }
}

}  // namespace
}  // namespace penstock::http
