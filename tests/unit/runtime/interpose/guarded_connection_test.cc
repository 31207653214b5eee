#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <future>
#include <thread>

#include "penstock/runtime.h"
#include "tests/unit/runtime/interpose/fixture.h"

namespace penstock::interpose {
namespace {

// A runtime whose policy has the upstream "shop" at localhost, and there a server that echoes what it reads; "slow" is
// never answered, and "bye" answered by closing.
class AnUpstream : public ::testing::Test {
 protected:
  AnUpstream() : listener_(listening()) {
    server_ = std::thread([this] { serve(); });
    shop_.name = "shop";
    shop_.hosts = {"localhost:" + std::to_string(ntohs(listener_.address.sin_port))};
    shop_.breaker.error_ratio = 0.5;
    shop_.breaker.min_calls = 5;
    shop_.breaker.open = seconds(10);
    apply();
  }
  ~AnUpstream() override {
    ::shutdown(listener_.fd.get(), SHUT_RDWR);
    server_.join();
    for (std::thread& each : serving_) each.join();
  }

  void apply() {
    decision::Policy policy;
    policy.upstreams = {shop_};
    runtime_.apply_policy(policy);
  }

  void on_fiber(const std::function<void()>& fn) {
    std::promise<void> done;
    runtime_.spawn("test", [&] {
      fn();
      done.set_value();
    });
    ASSERT_EQ(done.get_future().wait_for(seconds(20)), std::future_status::ready);
  }

  // As a program does that knows the host's name. Negative: the errno.
  int connected(int flags = 0) {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* results = nullptr;
    const std::string port = std::to_string(ntohs(listener_.address.sin_port));
    EXPECT_EQ(::getaddrinfo("localhost", port.c_str(), &hints, &results), 0);
    const int fd = ::socket(AF_INET, SOCK_STREAM | flags, 0);
    const int failed = ::connect(fd, results->ai_addr, results->ai_addrlen) == 0 ? 0 : errno;
    ::freeaddrinfo(results);
    if (failed == 0 || failed == EINPROGRESS) return fd;
    ::close(fd);
    return -failed;
  }

  static std::string exchange(int fd, const std::string& question) {
    if (::send(fd, question.data(), question.size(), MSG_NOSIGNAL) < 0) return "send: " + std::to_string(errno);
    char answer[100];
    const ssize_t n = ::recv(fd, answer, sizeof answer, 0);
    return n < 0 ? "recv: " + std::to_string(errno) : std::string(answer, static_cast<std::size_t>(n));
  }

  Runtime::UpstreamStats stats() {
    for (const auto& each : runtime_.stats().upstreams) {
      if (each.name == "shop") return each;
    }
    ADD_FAILURE() << "no such upstream";
    return {};
  }

  Listening listener_;
  std::thread server_;
  std::vector<std::thread> serving_;
  decision::UpstreamPolicy shop_;
  Runtime runtime_{{.threads = 1}};

 private:
  void serve() {
    for (;;) {
      const int fd = ::accept(listener_.fd.get(), nullptr, nullptr);
      if (fd < 0) return;
      serving_.emplace_back([fd] {
        char text[100];
        for (;;) {
          const ssize_t n = ::read(fd, text, sizeof text);
          const std::string question(text, n > 0 ? static_cast<std::size_t>(n) : 0);
          if (n <= 0 || question == "bye") break;
          if (question != "slow") static_cast<void>(!::write(fd, text, static_cast<std::size_t>(n)));
        }
        ::close(fd);
      });
    }
  }
};

TEST_F(AnUpstream, CountsEachExchange) {
  on_fiber([&] {
    const int fd = connected();
    ASSERT_GE(fd, 0);
    EXPECT_EQ(stats().in_flight, 1);
    EXPECT_EQ(exchange(fd, "one"), "one");
    EXPECT_EQ(stats().ok, 1u);
    EXPECT_EQ(stats().in_flight, 0);
    EXPECT_EQ(exchange(fd, "two"), "two");
    EXPECT_EQ(stats().ok, 2u);
    EXPECT_EQ(exchange(fd, "bye"), "");
    EXPECT_EQ(stats().errors, 1u);
    ::close(fd);
    EXPECT_EQ(stats().in_flight, 0);
  });
}

TEST_F(AnUpstream, CountsThoseOfLibrariesThatDoNotWait) {
  on_fiber([&] {
    const int fd = connected(SOCK_NONBLOCK);
    ASSERT_GE(fd, 0);
    pollfd ready{fd, POLLOUT, 0};
    EXPECT_EQ(::poll(&ready, 1, 5'000), 1);
    EXPECT_EQ(::send(fd, "one", 3, MSG_DONTWAIT | MSG_NOSIGNAL), 3);
    ready.events = POLLIN;
    EXPECT_EQ(::poll(&ready, 1, 5'000), 1);
    char text[10];
    EXPECT_EQ(::recv(fd, text, sizeof text, MSG_DONTWAIT), 3);
    EXPECT_EQ(stats().ok, 1u);
    ::close(fd);
  });
}

TEST_F(AnUpstream, ItsTimeoutEndsAWaitInside) {
  shop_.timeout = milliseconds(50);
  apply();
  on_fiber([&] {
    const int fd = connected();
    EXPECT_EQ(exchange(fd, "slow"), "recv: " + std::to_string(ETIMEDOUT));
    EXPECT_EQ(stats().timeouts, 1u);
    // Also one in poll().
    EXPECT_EQ(::send(fd, "slow", 4, 0), 4);
    pollfd ready{fd, POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, 5'000), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    EXPECT_EQ(stats().timeouts, 2u);
    ::close(fd);
    EXPECT_EQ(stats().in_flight, 0);
  });
}

TEST_F(AnUpstream, ItsTimeoutEndsAWaitOfTheProgramsOwnLoop) {
  shop_.timeout = milliseconds(50);
  apply();
  on_fiber([&] {
    for (const bool added_first : {false, true}) {
      const Fd set(::epoll_create1(EPOLL_CLOEXEC));
      Ends other = socket_pair();
      epoll_event event{EPOLLIN, {.fd = other.one.get()}};
      ASSERT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, other.one.get(), &event), 0);
      int fd = -1;
      if (added_first) {
        fd = ::socket(AF_INET, SOCK_STREAM, 0);
        event = {EPOLLIN, {.fd = fd}};
        ASSERT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &event), 0);
        ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&listener_.address), sizeof listener_.address), 0);
        epoll_event none;
        while (::epoll_wait(set.get(), &none, 1, 0) != 0) continue;
      } else {
        fd = connected();
        event = {EPOLLIN, {.fd = fd}};
        ASSERT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &event), 0);
      }
      EXPECT_EQ(exchange(fd, "one"), "one");
      const auto before = stats();
      EXPECT_EQ(::send(fd, "slow", 4, MSG_NOSIGNAL), 4);
      epoll_event told[2];
      EXPECT_LT(time_of([&] { ASSERT_EQ(::epoll_wait(set.get(), told, 2, 10'000), 1); }), seconds(5));
      EXPECT_EQ(told[0].data.fd, fd);
      EXPECT_EQ(stats().timeouts, before.timeouts + 1);
      EXPECT_EQ(stats().in_flight, 0);
      char byte;
      EXPECT_EQ(::recv(fd, &byte, 1, 0), -1);
      EXPECT_EQ(errno, ETIMEDOUT);
      EXPECT_EQ(::send(fd, "more", 4, MSG_NOSIGNAL), -1);
      EXPECT_EQ(errno, ETIMEDOUT);
      EXPECT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_DEL, fd, nullptr), 0);
      ::close(fd);
      // The others of the set go on, and a number that is used again is another connection.
      EXPECT_EQ(::epoll_wait(set.get(), told, 2, 1), 0);
      EXPECT_EQ(::write(other.other.get(), "x", 1), 1);
      EXPECT_EQ(::epoll_wait(set.get(), told, 2, 10'000), 1);
      EXPECT_EQ(told[0].data.fd, other.one.get());
      const int next = connected();
      EXPECT_EQ(exchange(next, "two"), "two");
      ::close(next);
    }
  });
}

TEST_F(AnUpstream, TheRequestsDeadlineEndsAWaitInside) {
  on_fiber([&] {
    const DeadlineScope scope(std::chrono::steady_clock::now() + milliseconds(50));
    const int fd = connected();
    EXPECT_EQ(exchange(fd, "slow"), "recv: " + std::to_string(ETIMEDOUT));
    ::close(fd);
    EXPECT_EQ(stats().timeouts, 1u);
  });
}

TEST_F(AnUpstream, AnOpenBreakerRefusesConnectionsAndCalls) {
  on_fiber([&] {
    const int fd = connected();
    EXPECT_EQ(exchange(fd, "one"), "one");
    runtime_.set_breaker("shop", decision::BreakerForce::open, "test");
    EXPECT_EQ(connected(), -ECONNREFUSED);
    EXPECT_EQ(connected(SOCK_NONBLOCK), -ECONNREFUSED);
    EXPECT_EQ(exchange(fd, "two"), "send: " + std::to_string(ECONNREFUSED));
    EXPECT_EQ(stats().rejected, 3u);
    ::close(fd);
  });
}

TEST_F(AnUpstream, RefusesWithTheErrorThatThePolicySays) {
  using decision::RefusalError;
  for (const auto& [said, error] :
       {std::pair(RefusalError::host_unreachable, EHOSTUNREACH), std::pair(RefusalError::network_down, ENETDOWN),
        std::pair(RefusalError::timed_out, ETIMEDOUT)}) {
    shop_.refusal_error = said;
    apply();
    on_fiber([&, error = error] {
      const int fd = connected();
      EXPECT_EQ(exchange(fd, "one"), "one");
      runtime_.set_breaker("shop", decision::BreakerForce::open, "test");
      EXPECT_EQ(connected(), -error);
      EXPECT_EQ(exchange(fd, "two"), "send: " + std::to_string(error));
      ::close(fd);
      runtime_.set_breaker("shop", decision::BreakerForce::closed, "test");
    });
  }
}

// As libpq does, which reads on after a write that failed, to learn what the server had to say.
TEST_F(AnUpstream, WhoWaitsForTheAnswerToARefusedCallIsToldAtOnce) {
  on_fiber([&] {
    for (const bool waits : {true, false}) {
      const int fd = connected();
      EXPECT_EQ(exchange(fd, "one"), "one");
      if (!waits) ::fcntl(fd, F_SETFL, O_NONBLOCK);
      runtime_.set_breaker("shop", decision::BreakerForce::open, "test");
      EXPECT_EQ(::send(fd, "two", 3, MSG_NOSIGNAL), -1);
      pollfd ready{fd, POLLIN, 0};
      EXPECT_EQ(::poll(&ready, 1, 5'000), 1);
      char answer[10];
      EXPECT_EQ(::recv(fd, answer, sizeof answer, 0), -1);
      EXPECT_EQ(errno, ECONNREFUSED);
      runtime_.set_breaker("shop", decision::BreakerForce::closed, "test");
      EXPECT_EQ(exchange(fd, "three"), "send: " + std::to_string(ECONNREFUSED));
      ::close(fd);
    }
  });
}

TEST_F(AnUpstream, PlainThreadsUseTheConnectionsOfFibersAsTheyAre) {
  on_fiber([&] {
    const int fd = connected();
    EXPECT_EQ(exchange(fd, "one"), "one");
    runtime_.set_breaker("shop", decision::BreakerForce::open, "test");
    std::thread([&] { EXPECT_EQ(exchange(fd, "two"), "two"); }).join();
    runtime_.set_breaker("shop", decision::BreakerForce::closed, "test");
    EXPECT_EQ(exchange(fd, "three"), "three");
    EXPECT_EQ(stats().rejected, 0u);
    EXPECT_EQ(stats().ok, 2u);
    ::close(fd);
  });
}

TEST_F(AnUpstream, FailuresOpenTheBreaker) {
  on_fiber([&] {
    for (int i = 0; i < 50; ++i) {
      const int fd = connected();
      if (fd < 0) break;
      exchange(fd, "bye");
      ::close(fd);
    }
    EXPECT_TRUE(eventually([&] { return connected() == -ECONNREFUSED; }));
  });
}

TEST_F(AnUpstream, GivenUpCallsCountAsSuch) {
  on_fiber([&] {
    const int fd = connected();
    EXPECT_EQ(::send(fd, "slow", 4, 0), 4);
    ::close(fd);
    EXPECT_EQ(stats().cancelled, 1u);
    EXPECT_EQ(stats().in_flight, 0);
  });
}

TEST_F(AnUpstream, WhoCallsThroughTheGuardIsNotGuardedTwice) {
  on_fiber([&] {
    runtime_.find_upstream("shop")->call([&] {
      const int fd = connected();
      EXPECT_EQ(exchange(fd, "one"), "one");
      ::close(fd);
    });
    EXPECT_EQ(stats().attempts, 1u);
  });
}

TEST_F(AnUpstream, AHostOfNoPolicyIsLeftAlone) {
  Listening other = listening();
  on_fiber([&] {
    Fd fd = connected_to(other.address);
    EXPECT_EQ(stats().attempts, 0u);
  });
}

TEST_F(AnUpstream, NamesThatPlainThreadsLookUpCount) {
  on_fiber([&] {
    std::thread([] {
      addrinfo* results = nullptr;
      EXPECT_EQ(::getaddrinfo("localhost", nullptr, nullptr, &results), 0);
      ::freeaddrinfo(results);
    }).join();
    Fd fd = connected_to(listener_.address);
    EXPECT_EQ(exchange(fd.get(), "one"), "one");
    EXPECT_EQ(stats().ok, 1u);
  });
}

// Who calls other hosts of the policy that have one address.
class HostsOfOneAddress : public AnUpstream {
 protected:
  HostsOfOneAddress() {
    front_.name = "front";
    front_.hosts = {"localhost"};
    shop_.hosts = {"127.0.0.1:" + std::to_string(ntohs(listener_.address.sin_port))};
    decision::Policy policy;
    policy.upstreams = {front_, shop_};
    runtime_.apply_policy(policy);
  }

  static void look_up(const char* name, int flags = 0) {
    addrinfo hints{};
    hints.ai_flags = flags;
    addrinfo* results = nullptr;
    EXPECT_EQ(::getaddrinfo(name, nullptr, &hints, &results), 0);
    ::freeaddrinfo(results);
  }

  void call() {
    Fd fd = connected_to(listener_.address);
    EXPECT_EQ(exchange(fd.get(), "one"), "one");
  }

  decision::UpstreamPolicy front_;
};

TEST_F(HostsOfOneAddress, APortCountsBeforeANameThatOthersLookedUp) {
  on_fiber([&] { look_up("localhost"); });
  on_fiber([&] {
    call();
    EXPECT_EQ(stats().ok, 1u);
  });
}

TEST_F(HostsOfOneAddress, WhatTheFiberAskedForCountsFirst) {
  on_fiber([&] {
    look_up("localhost");
    call();
    EXPECT_EQ(stats().ok, 0u);
    look_up("127.0.0.1");
    call();
    EXPECT_EQ(stats().ok, 1u);
    look_up("localhost");
    call();
    EXPECT_EQ(stats().ok, 1u);
    look_up("127.0.0.1", AI_NUMERICHOST);
    call();
    EXPECT_EQ(stats().ok, 2u);
  });
}

TEST_F(HostsOfOneAddress, WhatAPolicyOnlyWatchesTakesNobodysPlace) {
  decision::Policy acts, watches;
  acts.upstreams = {front_};
  watches.upstreams = {shop_};
  watches.shadow = true;
  runtime_.apply_policy(acts);
  runtime_.apply_shadow(watches);
  on_fiber([&] { look_up("localhost"); });
  on_fiber([&] {
    call();
    EXPECT_EQ(stats().ok, 0u);
  });
}

}  // namespace
}  // namespace penstock::interpose
