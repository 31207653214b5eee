#include "runtime/http/retry_after.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <string>

#include "tests/unit/runtime/http/client_fixture.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;

std::optional<decision::Duration> said(std::string value) {
  Response response;
  response.headers.emplace_back("retry-after", std::move(value));
  return retry_after(response);
}

TEST(RetryAfter, IsSecondsOrADate) {
  EXPECT_EQ(said("0"), 0s);
  EXPECT_EQ(said("120"), 120s);
  EXPECT_EQ(said("99999999999999999999"), 168h);
  char date[64];
  const time_t later = ::time(nullptr) + 100;
  tm parts{};
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", ::gmtime_r(&later, &parts));
  ASSERT_TRUE(said(date));
  EXPECT_GE(*said(date), 95s);
  EXPECT_LE(*said(date), 100s);
  EXPECT_EQ(said("Fri, 31 Dec 1999 23:59:59 GMT"), 0s);
}

TEST(RetryAfter, WhatCannotBeReadIsNotThere) {
  EXPECT_FALSE(retry_after(Response{}));
  for (const char* text : {"soon", "-5", "1.5", "5 s", "Fri, 31 Dec 1999 23:59:59"}) {
    EXPECT_FALSE(said(text)) << text;
  }
}

class HttpRefusals : public ClientTest {};

TEST_F(HttpRefusals, AreCountedApartAndAsErrors) {
  start();
  RawServer upstream([](RawSocket& socket, int) {
    for (const char* head : {"429 Too Many Requests\r\n", "503 Service Unavailable\r\nRetry-After: 1\r\n",
                             "503 Service Unavailable\r\n"}) {
      socket.read_until("\r\n\r\n");
      socket.send("HTTP/1.1 " + std::string(head) + "Content-Length: 0\r\n\r\n");
    }
  });
  runtime.on_fiber([&] {
    Client client(*runtime);
    EXPECT_EQ(client.get(upstream.url()).status, 429);
    EXPECT_EQ(client.get(upstream.url()).status, 503);
    EXPECT_EQ(client.get(upstream.url()).status, 503);
  });
  EXPECT_EQ(stats().refused, 2u);
  EXPECT_EQ(stats().errors, 3u);
  EXPECT_EQ(runtime->metrics().total("penstock_upstream_refused_total", {{"upstream", "A"}}), 2);
}

TEST_F(HttpRefusals, OfMostCallsAreObeyed) {
  start();
  RawServer upstream([](RawSocket& socket, int) {
    answer_all(socket, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n");
  });
  runtime.on_fiber([&] {
    Client client(*runtime);
    const auto rejected = [&] {
      try {
        client.get(upstream.url());
        return Duration::zero();
      } catch (const Rejected& e) {
        EXPECT_EQ(e.reason(), RejectReason::limit);
        return e.retry_after();
      }
    };
    Duration wait{};
    for (int i = 0; i < 5000 && wait == Duration::zero(); ++i) {
      wait = rejected();
      sleep_for(1ms);
    }
    EXPECT_GT(wait, 30s);
    EXPECT_LE(wait, 60s);
  });
  EXPECT_TRUE(stats().rate.has_value());
  EXPECT_EQ(stats().breaker, decision::BreakerState::closed);
  EXPECT_TRUE(log.has("\"action\":\"rate\",\"reason\":\"obeyed\",\"verdict\":\"full\""));
}

}  // namespace
}  // namespace penstock::http
