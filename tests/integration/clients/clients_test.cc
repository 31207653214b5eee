#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <future>
#include <string>

#include "bench/clients/clients.h"
#include "penstock/fiber.h"
#include "penstock/runtime.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;

// Each client, and a host that lets everybody connect and never says anything.
class AClient : public ::testing::TestWithParam<const char*> {
 protected:
  AClient() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 16), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    where_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    decision::Policy policy;
    decision::UpstreamPolicy silent;
    silent.name = "silent";
    silent.hosts = {where_};
    silent.timeout = 20s;
    policy.upstreams = {silent};
    runtime_.apply_policy(policy);
  }
  ~AClient() override { ::close(fd_); }

  // How long it took to fail; the test ends when it does not.
  Duration fails(const std::function<void()>& around) {
    std::promise<Duration> done;
    auto future = done.get_future();
    runtime_.spawn("client", [&] {
      around();
      const Instant begun = std::chrono::steady_clock::now();
      try {
        const DeadlineScope scope(begun + deadline_);
        bench::make_client(GetParam(), where_)->call();
        ADD_FAILURE() << "the call succeeded";
      } catch (const std::runtime_error& e) {
        EXPECT_STRNE(e.what(), "");
      }
      done.set_value(std::chrono::steady_clock::now() - begun);
    });
    return future.get();
  }

  Runtime::UpstreamStats stats() {
    for (const auto& each : runtime_.stats().upstreams) {
      if (each.name == "silent") return each;
    }
    return {};
  }

  const int fd_;
  std::string where_;
  Duration deadline_ = 10s;
  Runtime runtime_{{.threads = 1}};
};

TEST_P(AClient, FailsAtTheRequestsDeadline) {
  deadline_ = 100ms;
  const Duration took = fails([] {});
  EXPECT_GE(took, 100ms);
  EXPECT_LT(took, 5s);
  EXPECT_EQ(stats().in_flight, 0);
  EXPECT_GE(stats().timeouts, 1u);
}

TEST_P(AClient, FailsAtOnceWhenTheBreakerIsOpen) {
  const Duration took = fails([&] { runtime_.set_breaker("silent", decision::BreakerForce::open, "test"); });
  EXPECT_LT(took, 5s);
  EXPECT_GE(stats().rejected, 1u);
  EXPECT_EQ(stats().in_flight, 0);
}

std::string name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Of, AClient,
                         ::testing::Values("libcurl", "libcurl-tls", "libpq", "hiredis", "libmariadb", "openssl",
                                           "smtp"),
                         name);

}  // namespace
}  // namespace penstock
