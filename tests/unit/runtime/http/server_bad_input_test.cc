#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

struct BadInput {
  const char* name;
  std::string request;
  int status;
};

void PrintTo(const BadInput& input, std::ostream* out) { *out << input.name; }

std::string post(std::string_view headers, std::string_view body = "") {
  return "POST /echo HTTP/1.1\r\nHost: t\r\n" + std::string(headers) + "\r\n" + std::string(body);
}

std::vector<BadInput> bad_inputs() {
  return {
      {"Garbage", "\x16\x03\x01\x02garbage\r\n\r\n", 400},
      {"NoTarget", "GET\r\n\r\n", 400},
      {"NoVersion", "GET /\r\n\r\n", 400},
      {"SpaceInTarget", "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", 400},
      {"Version2", "GET / HTTP/2.0\r\nHost: t\r\n\r\n", 400},
      {"Version15", "GET / HTTP/1.5\r\nHost: t\r\n\r\n", 400},
      {"NoHost", "GET / HTTP/1.1\r\n\r\n", 400},
      {"TwoHosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"SpaceInHost", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"PathInHost", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"UserInHost", "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400},
      {"HeaderWithoutColon", "GET / HTTP/1.1\r\nHost: t\r\nbroken\r\n\r\n", 400},
      {"SpaceBeforeColon", "GET / HTTP/1.1\r\nHost : t\r\n\r\n", 400},
      {"ControlInHeader", std::string("GET / HTTP/1.1\r\nHost: t\r\nX: a\x01") + "b\r\n\r\n", 400},
      {"NegativeLength", post("Content-Length: -1\r\n"), 400},
      {"LengthNoNumber", post("Content-Length: ten\r\n"), 400},
      {"TwoLengths", post("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"), 400},
      {"LengthOverflow", post("Content-Length: 99999999999999999999999\r\n"), 400},
      {"LengthAndChunked", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
      {"ChunkedAndLength", post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"), 400},
      {"LengthAndGzip", post("Content-Length: 3\r\nTransfer-Encoding: gzip\r\n", "abc"), 400},
      {"UnknownEncoding", post("Transfer-Encoding: gzip\r\n"), 501},
      {"GzipThenChunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501},
      {"ChunkedInVersion10", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"ChunkSizeNoNumber", post("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n"), 400},
      {"ChunkTooLong", post("Transfer-Encoding: chunked\r\n", "2\r\nabcdef\r\n0\r\n\r\n"), 400},
      {"HeaderTooLarge", "GET / HTTP/1.1\r\nHost: t\r\nX: " + std::string(5000, 'x') + "\r\n\r\n", 431},
      {"HeaderTooLargeAndEndless", "GET / HTTP/1.1\r\nHost: t\r\nX: " + std::string(5000, 'x'), 431},
      {"TargetTooLarge", "GET /" + std::string(5000, 'x') + " HTTP/1.1\r\nHost: t\r\n\r\n", 414},
      {"BodyTooLarge", post("Content-Length: 1001\r\n", std::string(1001, 'x')), 413},
      {"BodyAnnouncedTooLarge", post("Content-Length: 1001\r\nExpect: 100-continue\r\n"), 413},
      {"ChunksTooLarge",
       post("Transfer-Encoding: chunked\r\n", "3e8\r\n" + std::string(1000, 'x') + "\r\n1\r\nx\r\n0\r\n\r\n"), 413},
      {"EndlessChunkExtension", post("Transfer-Encoding: chunked\r\n", "1;" + std::string(10000, 'x')), 400},
  };
}

class HttpBadInput : public ::testing::TestWithParam<BadInput> {};

TEST_P(HttpBadInput, IsAnsweredAndTheConnectionClosed) {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0, .max_header_bytes = 2048, .max_body_bytes = 1000});
  int handled = 0;
  server.route("", "/*", [&](const Request& r) {
    ++handled;
    return Response::text(std::string(r.body()));
  });
  runtime.start();
  RawSocket socket = RawSocket::connect(server.port());
  const auto answer = socket.ask(GetParam().request);
  EXPECT_EQ(answer.status, GetParam().status) << answer.head << answer.body;
  EXPECT_NE(answer.head.find("\r\nConnection: close\r\n"), std::string::npos);
  EXPECT_TRUE(socket.closed_by_peer());
  EXPECT_EQ(handled, 0);
  // What comes next is not affected.
  RawSocket next = RawSocket::connect(server.port());
  EXPECT_EQ(next.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status, 200);
}

INSTANTIATE_TEST_SUITE_P(Table, HttpBadInput, ::testing::ValuesIn(bad_inputs()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace penstock::http
