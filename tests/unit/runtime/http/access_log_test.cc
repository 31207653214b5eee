#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <string>

#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

TEST(HttpAccessLog, IsJsonWhateverBytesTheTargetHas) {
  const CapturedLog log;
  {
    RunningRuntime runtime(1);
    Server server(*runtime, {.port = 0, .access_log = log_access});
    server.route("", "/*", [](const Request&) { return Response::text("yes"); });
    runtime.start();
    RawSocket socket = RawSocket::connect(server.port());
    const std::string target = "/\xff\xc3\xa9\xc3/\"\\\xed\xa0\x80?\xf0\x9f\x98\x80";
    EXPECT_EQ(socket.ask("GET " + target + " HTTP/1.1\r\nHost: t\r\n\r\n").status, 200);
  }
  const std::string text = log.text();
  const auto begin = text.find("access {");
  ASSERT_NE(begin, std::string::npos) << text;
  const std::string line = text.substr(begin + 7, text.find('\n', begin) - begin - 7);
  boost::json::error_code error;
  const boost::json::value value = boost::json::parse(line, error);
  ASSERT_FALSE(error) << line;
  EXPECT_EQ(value.at("target").as_string(),
            "/\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd/\"\\\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd?"
            "\xf0\x9f\x98\x80");
}

}  // namespace
}  // namespace penstock::http
