#include "runtime/http/response_parser.h"

#include <gmock/gmock.h>

#include <string>
#include <string_view>

#include "tests/unit/runtime/http/parsed.h"

namespace penstock::http {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::string body_of(std::string_view text, std::size_t piece) {
  const Message message = parse_answer(text, piece);
  if (message.error != ParseError::none) return std::string(to_string(message.error));
  return message.body + (message.used == text.size() ? "" : " and more");
}

TEST(ResponseParser, ChunksMayComeInPieces) {
  const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (std::size_t piece = 1; piece < 12; ++piece) {
    EXPECT_EQ(body_of(head + "0\r\n\r\n", piece), "") << "in pieces of " << piece;
    EXPECT_EQ(body_of(head + "3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nX-Trailer: e\r\n\r\n", piece), "abcd");
  }
}

TEST(ResponseParser, HeadIsBoundedHoweverItComes) {
  Response response;
  Headers trailers;
  ResponseParser parser(response, trailers, ResponseParser::Body::whole);
  parser.header_limit(1000);
  ParseError error = ParseError::none;
  std::string ahead = "HTTP/1.1 200 OK\r\nF";
  std::size_t come = ahead.size();
  while (come < 10'000 && !is_wrong(error)) {
    constexpr std::string_view kNext = "ield: value\r\nF";
    ahead += kNext;
    come += kNext.size();
    const Parsed parsed = parser.put(ahead);
    ahead.erase(0, parsed.used);
    error = parsed.error;
  }
  EXPECT_EQ(error, ParseError::header_limit);
  EXPECT_LT(come, 1100u);
}

TEST(ResponseParser, ReasonMayBeMissing) {
  for (const char* line : {"HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200 Fine by me"}) {
    const Message message = parse_answer(std::string(line) + "\r\nContent-Length: 2\r\n\r\nok", 1);
    EXPECT_EQ(message.body, "ok") << line;
    EXPECT_TRUE(message.keep_alive) << line;
  }
}

TEST(ResponseParser, WhatIsNoHttpIsSeenAtOnce) {
  for (const std::string_view text : {"220 smtp.example ready", "SSH-2.0-x", "HTTP/2.0", "HTTP/1.1x", "HTTP/1.1 2x",
                                      "HTTP/1.1 099 ", "HTTP/1.1 2000"}) {
    Response response;
    Headers trailers;
    ResponseParser parser(response, trailers, ResponseParser::Body::whole);
    EXPECT_TRUE(is_wrong(parser.put(text).error)) << text;
  }
}

TEST(ResponseParser, FoldedValuesBecomeOneLine) {
  const Message message = parse_answer(
      "HTTP/1.1 200 OK\r\nA: one\r\n two \r\n\t three\r\nB:\r\n four\r\nC: five\r\nContent-Length: 0\r\n\r\n", 3);
  EXPECT_THAT(message.headers, ElementsAre(Pair("A", "one two three"), Pair("B", "four"), Pair("C", "five"),
                                           Pair("Content-Length", "0")));
}

TEST(ResponseParser, TheEndOfTheConnectionEndsABodyOfUnknownLength) {
  const Message message = parse_answer("HTTP/1.1 200 OK\r\n\r\nto the end", 4);
  EXPECT_TRUE(message.complete);
  EXPECT_EQ(message.body, "to the end");
  EXPECT_FALSE(message.keep_alive);
  EXPECT_FALSE(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nto the end", 4).complete);
  EXPECT_FALSE(parse_answer("HTTP/1.1 200 OK\r\nContent-Le", 4).complete);
}

TEST(ResponseParser, ConnectionIsKeptAsVersionAndHeaderSay) {
  const auto kept = [](std::string text, std::string_view fields) {
    text.append(" 200 OK\r\nContent-Length: 0\r\n").append(fields).append("\r\n");
    return parse_answer(text, 99).keep_alive;
  };
  EXPECT_TRUE(kept("HTTP/1.1", ""));
  EXPECT_FALSE(kept("HTTP/1.1", "Connection: CLOSE\r\n"));
  EXPECT_FALSE(kept("HTTP/1.1", "connection: x , close,\r\n"));
  EXPECT_FALSE(kept("HTTP/1.0", ""));
  EXPECT_TRUE(kept("HTTP/1.0", "Connection: Keep-Alive\r\n"));
}

}  // namespace
}  // namespace penstock::http
