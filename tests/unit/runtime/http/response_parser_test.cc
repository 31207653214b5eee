#include "runtime/http/response_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <string>
#include <string_view>

namespace penstock::http {
namespace {

// As a connection does it, with what comes in pieces of that size.
std::string body_of(std::string_view text, std::size_t piece) {
  Response response;
  Headers trailers;
  ResponseParser parser(response, trailers, ResponseParser::Body::whole);
  std::size_t used = 0;
  for (std::size_t come = piece; !parser.is_done() && used < text.size(); come += piece) {
    const std::string_view ahead = text.substr(used, std::min(come, text.size()) - used);
    boost::system::error_code ec;
    used += parser.put(boost::asio::const_buffer(ahead.data(), ahead.size()), ec);
    if (ec && ec != boost::beast::http::error::need_more) return ec.message();
  }
  return response.body + (used == text.size() ? "" : " and more");
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
  boost::system::error_code ec;
  std::string ahead = "HTTP/1.1 200 OK\r\nF";
  std::size_t come = ahead.size();
  while (come < 10'000 && (!ec || ec == boost::beast::http::error::need_more)) {
    constexpr std::string_view kNext = "ield: value\r\nF";
    ahead += kNext;
    come += kNext.size();
    ahead.erase(0, parser.put(boost::asio::const_buffer(ahead.data(), ahead.size()), ec));
  }
  EXPECT_EQ(ec, boost::beast::http::error::header_limit);
  EXPECT_LT(come, 1100u);
}

}  // namespace
}  // namespace penstock::http
