#include "runtime/interpose/epoll_set.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/runtime/interpose/fixture.h"

namespace penstock::interpose {
namespace {

// As in a program whose threads are fibers.
class ListenerInManySets : public ::testing::Test {
 protected:
  static constexpr std::size_t kSets = 100;

  void SetUp() override { keep_listeners = true; }
  void TearDown() override {
    keep_listeners = false;
    sets_.clear();
    EXPECT_FALSE(EpollSet::any());
  }

  // The last one is beyond what stays in the kernel.
  int make_sets(int listener) {
    for (std::size_t i = 0; i < kSets; ++i) {
      sets_.emplace_back(::epoll_create1(EPOLL_CLOEXEC));
      epoll_event event{.events = EPOLLIN, .data = {.u64 = 1000 + i}};
      EXPECT_EQ(::epoll_ctl(sets_.back().get(), EPOLL_CTL_ADD, listener, &event), 0);
    }
    return sets_.back().get();
  }

  static bool in_kernel(int set, int fd) {
    std::ifstream file("/proc/self/fdinfo/" + std::to_string(set));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      int found = -1;
      if (word == "tfd:" && words >> found && found == fd) return true;
    }
    return false;
  }

  static int ready(int set, int milliseconds = 0, std::uint64_t expected = 1000 + kSets - 1) {
    epoll_event event{};
    const int n = ::epoll_wait(set, &event, 1, milliseconds);
    if (n == 1) {
      EXPECT_EQ(event.data.u64, expected);
      EXPECT_EQ(event.events, static_cast<std::uint32_t>(EPOLLIN));
    }
    return n;
  }

  Listening listener_ = listening();
  std::vector<Fd> sets_;
};

TEST_F(ListenerInManySets, FewOfThemAreCalledIntoByTheKernel) {
  on_fiber([&] {
    make_sets(listener_.fd.get());
    std::size_t in_kernels = 0;
    for (const Fd& set : sets_) in_kernels += in_kernel(set.get(), listener_.fd.get()) ? 1 : 0;
    EXPECT_EQ(in_kernels, EpollSet::kOrdinary);
  });
}

TEST_F(ListenerInManySets, EachThatWaitsIsToldUntilTheConnectionIsTaken) {
  on_fiber([&] {
    make_sets(listener_.fd.get());
    std::size_t told = 0;
    std::vector<Fiber> fibers;
    for (std::size_t i = 0; i < kSets; ++i) {
      fibers.push_back(spawn("waiter", [&, i] {
        EXPECT_EQ(ready(sets_[i].get(), 10'000, 1000 + i), 1);
        ++told;
      }));
    }
    ::usleep(2'000);
    EXPECT_EQ(told, 0u);
    Fd client = connected_to(listener_.address);
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(told, kSets);
    EXPECT_EQ(ready(sets_.back().get()), 1);
    Fd taken(::accept(listener_.fd.get(), nullptr, nullptr));
    EXPECT_EQ(ready(sets_.back().get()), 0);
    const Duration waited = time_of([&] { EXPECT_EQ(ready(sets_.back().get(), 20), 0); });
    EXPECT_GE(waited, milliseconds(20));
  });
}

TEST_F(ListenerInManySets, ConnectionsAreTakenByManyFibers) {
  on_fiber([&] {
    make_sets(listener_.fd.get());
    int served = 0;
    std::vector<Fiber> fibers;
    for (std::size_t i = 0; i < kSets; ++i) {
      fibers.push_back(spawn("server", [&, i] {
        Fd taken;
        // As programs do that are woken together: the listener does not wait, and who is late waits again.
        while (taken.get() < 0) {
          EXPECT_EQ(ready(sets_[i].get(), 10'000, 1000 + i), 1);
          taken = Fd(::accept4(listener_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
        }
        ++served;
      }));
    }
    ::fcntl(listener_.fd.get(), F_SETFL, O_RDWR | O_NONBLOCK);
    std::vector<Fd> clients;
    for (std::size_t i = 0; i < kSets; ++i) clients.push_back(connected_to(listener_.address));
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(served, static_cast<int>(kSets));
  });
}

TEST_F(ListenerInManySets, ItIsChangedAndRemoved) {
  on_fiber([&] {
    const int set = make_sets(listener_.fd.get());
    const int fd = listener_.fd.get();
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 7}};
    errno = 0;
    EXPECT_EQ(::epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), -1);
    EXPECT_EQ(errno, EEXIST);
    EXPECT_EQ(::epoll_ctl(set, EPOLL_CTL_MOD, fd, &event), 0);
    Fd client = connected_to(listener_.address);
    EXPECT_EQ(ready(set, 10'000, 7), 1);
    event.events = EPOLLIN | EPOLLONESHOT;
    EXPECT_EQ(::epoll_ctl(set, EPOLL_CTL_MOD, fd, &event), 0);
    EXPECT_EQ(ready(set, 10'000, 7), 1);
    EXPECT_EQ(ready(set, 0, 7), 0);
    const int other = sets_[kSets - 2].get();
    EXPECT_EQ(::epoll_ctl(other, EPOLL_CTL_DEL, fd, nullptr), 0);
    EXPECT_EQ(ready(other), 0);
    EXPECT_EQ(::epoll_ctl(other, EPOLL_CTL_DEL, fd, nullptr), -1);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_EQ(::epoll_ctl(other, EPOLL_CTL_MOD, fd, &event), -1);
    EXPECT_EQ(errno, ENOENT);
  });
}

TEST_F(ListenerInManySets, WhoTakesOneEventAtATimeGetsAllInTurn) {
  on_fiber([&] {
    const int set = make_sets(listener_.fd.get());
    Ends pipe = make_pipe();
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 5}};
    EXPECT_EQ(::epoll_ctl(set, EPOLL_CTL_ADD, pipe.one.get(), &event), 0);
    EXPECT_EQ(::write(pipe.other.get(), "x", 1), 1);
    Fd client = connected_to(listener_.address);
    int of_pipe = 0;
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(::epoll_wait(set, &event, 1, 10'000), 1);
      of_pipe += event.data.u64 == 5 ? 1 : 0;
    }
    EXPECT_EQ(of_pipe, 5);
    std::array<epoll_event, 4> events;
    EXPECT_EQ(::epoll_wait(set, events.data(), 4, 10'000), 2);
  });
}

TEST_F(ListenerInManySets, WhoLooksAtTheSetItselfSeesIt) {
  on_fiber([&] {
    make_sets(listener_.fd.get());
    Fd client = connected_to(listener_.address);
    pollfd polled{sets_[kSets - 1].get(), POLLIN, 0};
    EXPECT_EQ(::poll(&polled, 1, 10'000), 1);
    fd_set selected;
    FD_ZERO(&selected);
    FD_SET(sets_[kSets - 2].get(), &selected);
    EXPECT_EQ(::select(sets_[kSets - 2].get() + 1, &selected, nullptr, nullptr, nullptr), 1);
    Fd outer(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 1}};
    EXPECT_EQ(::epoll_ctl(outer.get(), EPOLL_CTL_ADD, sets_[kSets - 3].get(), &event), 0);
    EXPECT_EQ(ready(outer.get(), 10'000, 1), 1);
    // The listener comes after the set.
    Fd inner(::epoll_create1(EPOLL_CLOEXEC));
    event.data.u64 = 2;
    EXPECT_EQ(::epoll_ctl(outer.get(), EPOLL_CTL_DEL, sets_[kSets - 3].get(), nullptr), 0);
    EXPECT_EQ(::epoll_ctl(outer.get(), EPOLL_CTL_ADD, inner.get(), &event), 0);
    EXPECT_EQ(::epoll_ctl(inner.get(), EPOLL_CTL_ADD, listener_.fd.get(), &event), 0);
    EXPECT_EQ(ready(outer.get(), 10'000, 2), 1);
    Fd copy(::dup(sets_[kSets - 4].get()));
    EXPECT_EQ(ready(copy.get(), 10'000, 1000 + kSets - 4), 1);
    EXPECT_EQ(ready(sets_[kSets - 4].get(), 10'000, 1000 + kSets - 4), 1);
  });
}

TEST_F(ListenerInManySets, AddedWhileSomebodyWaits) {
  on_fiber([&] {
    make_sets(listener_.fd.get());
    Fd set(::epoll_create1(EPOLL_CLOEXEC));
    Fiber waiter = spawn("waiter", [&] { EXPECT_EQ(ready(set.get(), 10'000, 3), 1); });
    ::usleep(2'000);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 3}};
    EXPECT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, listener_.fd.get(), &event), 0);
    Fd client = connected_to(listener_.address);
    waiter.join();
  });
}

TEST_F(ListenerInManySets, Closed) {
  on_fiber([&] {
    const int set = make_sets(listener_.fd.get());
    Fiber waiter = spawn("waiter", [&] { EXPECT_EQ(ready(set, 50), 0); });
    Fiber other = spawn("waiter", [&] {
      epoll_event event;
      EXPECT_EQ(::epoll_wait(sets_[kSets - 2].get(), &event, 1, 10'000), -1);
      EXPECT_EQ(errno, EBADF);
    });
    ::usleep(2'000);
    const int number = sets_[kSets - 2].get();
    ::close(number);
    other.join();
    sets_[kSets - 2].release();
    listener_.fd.close();
    waiter.join();
    // A listener of the same number is another one.
    Listening next = listening();
    Fd client = connected_to(next.address);
    EXPECT_EQ(ready(set, 20), 0);
  });
}

TEST_F(ListenerInManySets, PlainThreadsAndForkedChildren) {
  on_fiber([&] {
    const int set = make_sets(listener_.fd.get());
    std::thread([&] { EXPECT_EQ(ready(set, 20), 0); }).join();
    Fd client = connected_to(listener_.address);
    std::thread([&] { EXPECT_EQ(ready(set, 10'000), 1); }).join();
    const pid_t child = ::fork();
    if (child == 0) ::_exit(ready(set, 10'000) == 1 ? 0 : 1);
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  });
}

TEST_F(ListenerInManySets, OtherKindsOfEventsStayInTheKernel) {
  on_fiber([&] {
    make_sets(listener_.fd.get());
    for (const std::uint32_t events : {EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLEXCLUSIVE}) {
      Fd set(::epoll_create1(EPOLL_CLOEXEC));
      epoll_event event{.events = events, .data = {.u64 = 1}};
      EXPECT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, listener_.fd.get(), &event), 0);
      EXPECT_TRUE(in_kernel(set.get(), listener_.fd.get()));
    }
  });
}

}  // namespace
}  // namespace penstock::interpose
