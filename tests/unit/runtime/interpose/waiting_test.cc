#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <time.h>

#include <thread>
#include <vector>

#include "tests/unit/runtime/interpose/fixture.h"
#include "tests/unit/runtime/interpose/foreign_calls.h"

namespace penstock::interpose {
namespace {

TEST(Waiting, PollWaitsForTheFirstOfMany) {
  on_fiber([] {
    std::vector<Ends> pairs;
    std::vector<pollfd> fds;
    for (int i = 0; i < 20; ++i) {
      pairs.push_back(socket_pair());
      fds.push_back({pairs.back().one.get(), POLLIN, 0});
    }
    fds.push_back({-1, POLLIN, 0});
    Fiber writer = spawn("writer", [&] {
      ::usleep(1'000);
      EXPECT_EQ(::write(pairs[13].other.get(), "x", 1), 1);
    });
    EXPECT_EQ(::poll(fds.data(), fds.size(), -1), 1);
    for (std::size_t i = 0; i < fds.size(); ++i) EXPECT_EQ(fds[i].revents, i == 13 ? POLLIN : 0) << i;
    writer.join();
  });
}

TEST(Waiting, TimeoutsAreKept) {
  on_fiber([] {
    Ends pair = socket_pair();
    const auto expect_time = [](Duration expected, const std::function<void()>& fn) {
      const Duration took = time_of(fn);
      EXPECT_GE(took, expected);
      EXPECT_LT(took, expected + milliseconds(500));
    };
    expect_time(milliseconds(20), [&] { EXPECT_EQ(foreign_wait_readable(pair.one.get(), 20), 0); });
    expect_time(milliseconds(0), [&] { EXPECT_EQ(foreign_wait_readable(pair.one.get(), 0), 0); });
    expect_time(milliseconds(20), [&] { EXPECT_EQ(::poll(nullptr, 0, 20), 0); });
    fd_set set;
    timeval left{0, 20'000};
    expect_time(milliseconds(20), [&] {
      FD_ZERO(&set);
      FD_SET(pair.one.get(), &set);
      EXPECT_EQ(::select(pair.one.get() + 1, &set, nullptr, nullptr, &left), 0);
    });
    EXPECT_FALSE(FD_ISSET(pair.one.get(), &set));
    EXPECT_EQ(left.tv_sec, 0);
    EXPECT_EQ(left.tv_usec, 0);
    Fd epoll(::epoll_create1(0));
    epoll_event event;
    expect_time(milliseconds(20), [&] { EXPECT_EQ(::epoll_wait(epoll.get(), &event, 1, 20), 0); });
    const timespec two_milliseconds{0, 2'000'000};
    expect_time(milliseconds(2), [&] { EXPECT_EQ(::nanosleep(&two_milliseconds, nullptr), 0); });
    expect_time(milliseconds(2),
                [&] { EXPECT_EQ(::clock_nanosleep(CLOCK_REALTIME, 0, &two_milliseconds, nullptr), 0); });
    timespec at;
    ::clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += 2'000'000;
    if (at.tv_nsec >= 1'000'000'000) {
      at.tv_nsec -= 1'000'000'000;
      ++at.tv_sec;
    }
    expect_time(milliseconds(1), [&] { EXPECT_EQ(::clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, nullptr), 0); });
  });
}

TEST(Waiting, ShortSleepsAreShort) {
  on_fiber([] {
    Duration shortest = Duration::max();
    for (int i = 0; i < 20; ++i) {
      const Duration took = time_of([] { EXPECT_EQ(::usleep(100), 0); });
      EXPECT_GE(took, std::chrono::microseconds(100));
      shortest = std::min(shortest, took);
    }
    EXPECT_LT(shortest, milliseconds(1));
  });
}

TEST(Waiting, SelectTakesLargeSets) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < 4'096) GTEST_SKIP() << "too few descriptors allowed";
  const rlimit old = limit;
  limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, 4'096);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  on_fiber([] {
    Ends pair = socket_pair();
    constexpr int kNumber = 3'000;
    ASSERT_EQ(::dup2(pair.one.get(), kNumber), kNumber);
    Fd high(kNumber);
    std::vector<unsigned long> bits(4'096 / 64);
    bits[kNumber / 64] = 1ul << kNumber % 64;
    Fiber writer = spawn("writer", [&] {
      ::usleep(1'000);
      EXPECT_EQ(::write(pair.other.get(), "x", 1), 1);
    });
    EXPECT_EQ(::select(kNumber + 1, reinterpret_cast<fd_set*>(bits.data()), nullptr, nullptr, nullptr), 1);
    EXPECT_EQ(bits[kNumber / 64], 1ul << kNumber % 64);
    writer.join();
  });
  ::setrlimit(RLIMIT_NOFILE, &old);
}

class EpollOfTheProgram : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(EpollOfTheProgram, TellsOfEachEvent) {
  on_fiber([] {
    Fd epoll(::epoll_create1(0));
    Ends pair = socket_pair();
    epoll_event event{};
    event.events = EPOLLIN | GetParam();
    event.data.u32 = 42;
    ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pair.one.get(), &event), 0);
    Fiber writer = spawn("writer", [&] {
      for (int i = 0; i < 3; ++i) {
        ::usleep(1'000);
        EXPECT_EQ(::write(pair.other.get(), "x", 1), 1);
      }
    });
    for (int i = 0; i < 3; ++i) {
      epoll_event got{};
      ASSERT_EQ(::epoll_wait(epoll.get(), &got, 1, 5'000), 1);
      EXPECT_EQ(got.data.u32, 42u);
      char byte;
      EXPECT_EQ(::read(pair.one.get(), &byte, 1), 1);
      if ((GetParam() & EPOLLONESHOT) != 0) ::epoll_ctl(epoll.get(), EPOLL_CTL_MOD, pair.one.get(), &event);
    }
    writer.join();
    epoll_event got;
    EXPECT_EQ(::epoll_wait(epoll.get(), &got, 1, 10), 0);
  });
}
INSTANTIATE_TEST_SUITE_P(Modes, EpollOfTheProgram, ::testing::Values(0, EPOLLET, EPOLLONESHOT));

TEST(Waiting, LevelTriggeredEventsWakeEachWaiter) {
  on_fiber([] {
    Fd epoll(::epoll_create1(0));
    Ends pair = socket_pair();
    epoll_event event{};
    event.events = EPOLLIN;
    ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pair.one.get(), &event), 0);
    std::vector<Fiber> waiting;
    for (int i = 0; i < 10; ++i) {
      waiting.push_back(spawn("waiter", [&] {
        epoll_event got;
        EXPECT_EQ(::epoll_wait(epoll.get(), &got, 1, -1), 1);
      }));
    }
    ::usleep(1'000);
    EXPECT_EQ(::write(pair.other.get(), "x", 1), 1);
    for (Fiber& fiber : waiting) fiber.join();
  });
}

TEST(Waiting, TheRequestsDeadlineEndsAllOfThem) {
  on_fiber([] {
    Ends pair = socket_pair();
    const DeadlineScope scope(std::chrono::steady_clock::now() + milliseconds(10));
    EXPECT_EQ(foreign_wait_readable(pair.one.get(), -1), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    EXPECT_EQ(::select(0, nullptr, nullptr, nullptr, nullptr), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    Fd epoll(::epoll_create1(0));
    epoll_event event;
    EXPECT_EQ(::epoll_wait(epoll.get(), &event, 1, -1), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    const timespec second{1, 0};
    timespec left{};
    EXPECT_EQ(::nanosleep(&second, &left), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    const auto rest = seconds(left.tv_sec) + std::chrono::nanoseconds(left.tv_nsec);
    EXPECT_GT(rest, milliseconds(900));
    EXPECT_LE(rest, seconds(1));
    EXPECT_EQ(::sleep(3), 3u);
  });
}

TEST(Waiting, ASignalThatACallLetsThroughEndsIt) {
  static volatile sig_atomic_t taken;
  taken = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { taken = 1; };
  struct sigaction old {};
  ::sigaction(SIGUSR2, &action, &old);
  on_fiber([] {
    sigset_t blocked, before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR2);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    ::pthread_kill(::pthread_self(), SIGUSR2);
    EXPECT_EQ(taken, 0);
    EXPECT_EQ(::ppoll(nullptr, 0, nullptr, &before), -1);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(taken, 1);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  });
  ::sigaction(SIGUSR2, &old, nullptr);
}

TEST(Waiting, OnAPlainThreadAllIsPlain) {
  Ends pair = socket_pair();
  EXPECT_EQ(foreign_wait_readable(pair.one.get(), 1), 0);
  EXPECT_EQ(foreign_sleep(1'000), 0);
  std::thread writer([&] {
    ::usleep(5'000);
    EXPECT_EQ(::write(pair.other.get(), "x", 1), 1);
  });
  char byte;
  EXPECT_EQ(foreign_read(pair.one.get(), &byte, 1), 1);
  writer.join();
}

}  // namespace
}  // namespace penstock::interpose
