#include "runtime/net/proxy_protocol.h"

#include <gtest/gtest.h>

#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/net/proxy_header_reader.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using Result = ProxyHeader::Result;

// A header of version 2.
std::string binary(char command, char family, const std::string& body) {
  std::string header("\r\n\r\n\0\r\nQUIT\n", 12);
  header += static_cast<char>(0x20 | command);
  header += family;
  header += static_cast<char>(body.size() >> 8);
  header += static_cast<char>(body.size());
  return header + body;
}

const std::string kIpv4("\xcb\x00\x71\x07\x7f\x00\x00\x01\xdd\xd5\x01\xbb", 12);
const std::string kIpv6 = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + '\x07' + std::string(15, '\0') +
                          std::string("\x01\xdd\xd5\x01\xbb", 5);

std::string unix_paths(std::string source) {
  source.resize(108);
  return source + std::string(108, '\0');
}

struct Valid {
  std::string header;
  std::optional<Endpoint> source;
};
std::vector<Valid> valid_headers() {
  return {
      {"PROXY TCP4 203.0.113.7 127.0.0.1 56789 443\r\n", Endpoint{"203.0.113.7", 56789}},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Endpoint{"255.255.255.255", 65535}},
      {"PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n", Endpoint{"1.2.3.4", 0}},
      {"PROXY TCP6 2001:db8::7 ::1 56789 443\r\n", Endpoint{"2001:db8::7", 56789}},
      {"PROXY TCP6 2001:0DB8:0:0:0:0:0:7 ::1 1 2\r\n", Endpoint{"2001:db8::7", 1}},
      {"PROXY UNKNOWN\r\n", {}},
      {"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", {}},
      {binary(1, 0x11, kIpv4), Endpoint{"203.0.113.7", 56789}},
      {binary(1, 0x21, kIpv6), Endpoint{"2001:db8::7", 56789}},
      {binary(1, 0x31, unix_paths("/run/client")), Endpoint{"/run/client", 0}},
      {binary(1, 0x31, unix_paths("")), Endpoint{"/", 0}},
      // A name as long as its place, without an end; and an abstract one.
      {binary(1, 0x31, unix_paths("/" + std::string(107, 'x'))), Endpoint{"/" + std::string(107, 'x'), 0}},
      {binary(1, 0x31, unix_paths(std::string("\0abstract", 9))), Endpoint{"/", 0}},
      {binary(1, 0x00, ""), {}},
      {binary(1, 0x00, "anything"), {}},
      {binary(0, 0x00, ""), {}},
      {binary(0, 0x11, kIpv4), {}},
      {binary(0, 0x7f, "not looked at"), {}},
      // Extras: a name, an empty one, an unknown type.
      {binary(1, 0x11, kIpv4 + std::string("\x02\x00\x04host\x04\x00\x00\xee\x00\x01x", 14)),
       Endpoint{"203.0.113.7", 56789}},
  };
}

TEST(ProxyProtocol, ValidHeadersAndEveryBeginningOfThem) {
  for (const auto& [header, source] : valid_headers()) {
    for (std::size_t n = 0; n < header.size(); ++n) {
      EXPECT_EQ(parse_proxy_header(header.substr(0, n)).result, Result::need_more) << header << ", " << n << " bytes";
    }
    for (const std::string& rest : {std::string(), std::string("GET / HTTP/1.1\r\n"), std::string("\r\n\r\n\0", 5)}) {
      const ProxyHeader parsed = parse_proxy_header(header + rest);
      ASSERT_EQ(parsed.result, Result::complete) << header << parsed.why;
      EXPECT_EQ(parsed.size, header.size());
      EXPECT_EQ(parsed.source, source) << header;
    }
  }
}

TEST(ProxyProtocol, WhatIsNoHeaderIsRefused) {
  const std::vector<std::string> bad = {
      "G",
      "GET / HTTP/1.1\r\n",
      "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
      "PROXY\r\n",
      "PROXZ",
      "\x16\x03\x01",
      "\r\n\r\n\r\n",
      // Its words.
      "PROXY \r\n",
      "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
      "PROXY UNKNOWNX\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
      "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
      "PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
      "PROXY UNKNOWN \x01\r\n",
      // Its addresses and ports.
      "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
      "PROXY TCP4 ::1 ::1 1 2\r\n",
      "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.444 1 2\r\n",
      "PROXY TCP4 host host 1 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1x 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
      // Too long.
      "PROXY UNKNOWN " + std::string(93, 'x'),
      "PROXY UNKNOWN " + std::string(92, 'x') + "\r\n",
      // Version 2.
      binary(2, 0x11, kIpv4),
      binary(1, 0x12, kIpv4),
      binary(1, 0x41, kIpv4),
      binary(1, 0x11, kIpv4.substr(1)),
      binary(1, 0x21, kIpv6.substr(1)),
      binary(1, 0x31, unix_paths("/x").substr(1)),
      binary(1, 0x11, ""),
      binary(1, 0x11, kIpv4 + "x"),
      binary(1, 0x11, kIpv4 + std::string("\x02\x00\x05host", 7)),
      binary(1, 0x11, kIpv4 + std::string(kMostProxyHeader, '\0')),
      std::string("\r\n\r\n\0\r\nQUIT\n\x11", 13),
      std::string("\r\n\r\n\0\r\nQUIT\n\x3f", 13),
  };
  for (const std::string& header : bad) {
    const ProxyHeader parsed = parse_proxy_header(header);
    EXPECT_EQ(parsed.result, Result::refused) << header;
    EXPECT_NE(std::string(parsed.why), "") << header;
    EXPECT_FALSE(parsed.source) << header;
  }
}

TEST(ProxyProtocol, TheLongestLineIsTaken) {
  EXPECT_EQ(parse_proxy_header("PROXY UNKNOWN " + std::string(91, 'x') + "\r\n").result, Result::complete);
}

TEST_F(Sockets, AProxyHeaderIsReadAndNothingBeyondIt) {
  run([] {
    for (const auto& [header, source] : valid_headers()) {
      auto [client, server] = connected_tcp();
      Fiber writer = spawn("writer", [&client = client, header = header] {
        for (const char c : header) {
          boost::asio::write(client, boost::asio::buffer(&c, 1));
          if (header.size() < 60) yield();
        }
        boost::asio::write(client, boost::asio::buffer("rest", 4));
      });
      error_code ec;
      const ProxyHeader read = read_proxy_header(server, 5s, ec);
      ASSERT_FALSE(ec) << ec.message() << read.why;
      EXPECT_EQ(read.source, source);
      char rest[4];
      boost::asio::read(server, boost::asio::buffer(rest));
      EXPECT_EQ(std::string(rest, 4), "rest");
      writer.join();
    }
  });
}

TEST_F(Sockets, AProxyHeaderMustCome) {
  run([] {
    error_code ec;
    {
      auto [client, server] = connected_tcp();
      boost::asio::write(client, boost::asio::buffer("PROXY TCP4 ", 11));
      read_proxy_header(server, 30ms, ec);
      EXPECT_EQ(ec, boost::asio::error::timed_out);
      client.close();
      read_proxy_header(server, 5s, ec);
      EXPECT_EQ(ec, boost::asio::error::eof);
    }
    auto [client, server] = connected_tcp();
    boost::asio::write(client, boost::asio::buffer("GET / HTTP/1.1\r\n", 16));
    EXPECT_STREQ(read_proxy_header(server, 5s, ec).why, "no PROXY header");
    EXPECT_TRUE(ec);
  });
}

}  // namespace
}  // namespace penstock::net
