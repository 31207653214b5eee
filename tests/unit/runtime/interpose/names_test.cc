#include <arpa/inet.h>
#include <netdb.h>

#include <cstring>

#include "tests/unit/runtime/interpose/fixture.h"

namespace penstock::interpose {
namespace {

std::string text_of(const addrinfo& result) {
  char text[INET6_ADDRSTRLEN] = {};
  if (result.ai_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(result.ai_addr)->sin_addr, text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(result.ai_addr)->sin6_addr, text, sizeof text);
  }
  return text;
}

TEST(Names, AreFoundByTheResolver) {
  on_fiber([] {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_CANONNAME;
    addrinfo* results = nullptr;
    ASSERT_EQ(::getaddrinfo("localhost", "8080", &hints, &results), 0);
    EXPECT_EQ(text_of(*results), "127.0.0.1");
    EXPECT_EQ(ntohs(reinterpret_cast<const sockaddr_in*>(results->ai_addr)->sin_port), 8080);
    EXPECT_EQ(results->ai_socktype, SOCK_STREAM);
    EXPECT_STREQ(results->ai_canonname, "localhost");
    ::freeaddrinfo(results);
  });
}

TEST(Names, EverySocketTypeIsListedAsByThePlainCall) {
  const auto count = [] {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    addrinfo* results = nullptr;
    EXPECT_EQ(::getaddrinfo("localhost", nullptr, &hints, &results), 0);
    int n = 0;
    for (const addrinfo* each = results; each != nullptr; each = each->ai_next) ++n;
    ::freeaddrinfo(results);
    return n;
  };
  const int plain = count();
  on_fiber([&] { EXPECT_EQ(count(), plain); });
}

TEST(Names, AddressesAndServicesNeedNoResolver) {
  on_fiber([] {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* results = nullptr;
    ASSERT_EQ(::getaddrinfo("::1", "http", &hints, &results), 0);
    EXPECT_EQ(text_of(*results), "::1");
    EXPECT_EQ(ntohs(reinterpret_cast<const sockaddr_in6*>(results->ai_addr)->sin6_port), 80);
    ::freeaddrinfo(results);
    ASSERT_EQ(::getaddrinfo(nullptr, "80", &hints, &results), 0);
    ::freeaddrinfo(results);
    EXPECT_EQ(::getaddrinfo("localhost", "no-such-service", &hints, &results), EAI_SERVICE);
  });
}

TEST(Names, TheRequestsDeadlineEndsTheSearch) {
  on_fiber([] {
    const DeadlineScope scope(std::chrono::steady_clock::now());
    addrinfo* results = nullptr;
    EXPECT_EQ(::getaddrinfo("name.that.is.not.known.invalid", nullptr, nullptr, &results), EAI_SYSTEM);
    EXPECT_EQ(errno, ETIMEDOUT);
  });
}

TEST(Names, HostEntriesAreTheFibersOwn) {
  on_fibers(2, [](int) {
    hostent* host = ::gethostbyname("localhost");
    ASSERT_NE(host, nullptr);
    sleep_for(milliseconds(2));
    EXPECT_STREQ(host->h_name, "localhost");
    EXPECT_EQ(host->h_addrtype, AF_INET);
    ASSERT_EQ(host->h_length, 4);
    in_addr address;
    std::memcpy(&address, host->h_addr_list[0], sizeof address);
    EXPECT_EQ(address.s_addr, htonl(INADDR_LOOPBACK));
    EXPECT_EQ(host->h_aliases[0], nullptr);
  });
}

TEST(Names, ASmallRoomIsSaidToBe) {
  on_fiber([] {
    hostent host;
    hostent* result = nullptr;
    int error = 0;
    char room[20];
    EXPECT_EQ(::gethostbyname_r("localhost", &host, room, sizeof room, &result, &error), ERANGE);
    EXPECT_EQ(result, nullptr);
    char more[500];
    EXPECT_EQ(::gethostbyname_r("localhost", &host, more, sizeof more, &result, &error), 0);
    EXPECT_EQ(result, &host);
  });
}

TEST(Names, OfAddressesAreFound) {
  on_fiber([] {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char host[200];
    EXPECT_EQ(::getnameinfo(reinterpret_cast<sockaddr*>(&address), sizeof address, host, sizeof host, nullptr, 0, 0),
              0);
    EXPECT_STREQ(host, "localhost");
    const hostent* entry = ::gethostbyaddr(&address.sin_addr, sizeof address.sin_addr, AF_INET);
    ASSERT_NE(entry, nullptr);
    EXPECT_STREQ(entry->h_name, "localhost");
  });
}

}  // namespace
}  // namespace penstock::interpose
