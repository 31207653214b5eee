#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include <cstdlib>
#include <numeric>
#include <thread>

#include "tests/unit/runtime/interpose/fixture.h"
#include "tests/unit/runtime/interpose/foreign_calls.h"

namespace penstock::interpose {
namespace {

std::string read_all(int fd) {
  std::string all;
  char part[10'000];
  for (;;) {
    const ssize_t n = ::read(fd, part, sizeof part);
    EXPECT_GE(n, 0) << errno;
    if (n <= 0) return all;
    all.append(part, static_cast<std::size_t>(n));
  }
}

std::string numbers(std::size_t size) {
  std::string text;
  for (int i = 0; text.size() < size; ++i) text += std::to_string(i) + ' ';
  text.resize(size);
  return text;
}

// Two fibers of one thread: one reads what the other writes, which could not be if either held the thread.
void passes_through(int reading, Fd writing) {
  const std::string sent = numbers(3'000'000);
  Fiber writer = spawn("writer", [&] {
    EXPECT_EQ(::write(writing.get(), sent.data(), sent.size()), static_cast<ssize_t>(sent.size()));
    writing.close();
  });
  EXPECT_EQ(read_all(reading), sent);
  writer.join();
}

TEST(Transfer, FibersOfOneThreadTalkThroughAPipe) {
  on_fiber([] {
    Ends pipe = make_pipe();
    passes_through(pipe.one.get(), std::move(pipe.other));
  });
}

TEST(Transfer, FibersOfOneThreadTalkThroughASocket) {
  on_fiber([] {
    Ends pair = socket_pair();
    passes_through(pair.one.get(), std::move(pair.other));
  });
}

TEST(Transfer, ALibrarysCallsAreCooperativeToo) {
  on_fiber([] {
    Ends pipe = make_pipe();
    char text[4] = {};
    Fiber reader = spawn("reader", [&] { EXPECT_EQ(foreign_read(pipe.one.get(), text, 3), 3); });
    EXPECT_EQ(foreign_sleep(1'000), 0);
    EXPECT_EQ(::write(pipe.other.get(), "abc", 3), 3);
    reader.join();
    EXPECT_STREQ(text, "abc");
  });
}

TEST(Transfer, ManyFibersWaitAtOnce) {
  constexpr int kFibers = 500;
  const Duration took = time_of([] {
    on_fibers(kFibers, [](int) {
      Ends pair = socket_pair();
      Fiber writer = spawn("writer", [&] {
        ::usleep(100'000);
        EXPECT_EQ(::send(pair.one.get(), "x", 1, 0), 1);
      });
      char byte = 0;
      EXPECT_EQ(::recv(pair.other.get(), &byte, 1, 0), 1);
      EXPECT_EQ(byte, 'x');
      writer.join();
    });
  });
  EXPECT_GE(took, milliseconds(100));
  EXPECT_LT(took, seconds(5));
}

TEST(Transfer, TheOtherSideMayBeAPlainThread) {
  on_fiber([] {
    Ends pair = socket_pair();
    const std::string sent = numbers(1'000'000);
    std::string got;
    std::thread reader([&] { got = read_all(pair.other.get()); });
    EXPECT_EQ(::send(pair.one.get(), sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()));
    pair.one.close();
    reader.join();
    EXPECT_EQ(got, sent);
  });
}

TEST(Transfer, PartsArriveWhole) {
  on_fiber([] {
    Ends pair = socket_pair();
    const std::string sent = numbers(900'000);
    Fiber writer = spawn("writer", [&] {
      iovec parts[20];
      for (std::size_t i = 0; i < 20; ++i) parts[i] = {const_cast<char*>(&sent[i * 45'000]), 45'000};
      EXPECT_EQ(::writev(pair.one.get(), parts, 20), static_cast<ssize_t>(sent.size()));
      pair.one.close();
    });
    EXPECT_EQ(read_all(pair.other.get()), sent);
    writer.join();
  });
}

TEST(Transfer, WaitAllWaitsForAll) {
  on_fiber([] {
    Ends pair = socket_pair();
    Fiber writer = spawn("writer", [&] {
      for (const char* part : {"ab", "cd", "ef"}) {
        ::usleep(2'000);
        EXPECT_EQ(::write(pair.one.get(), part, 2), 2);
      }
      pair.one.close();
    });
    char text[7] = {};
    EXPECT_EQ(::recv(pair.other.get(), text, 5, MSG_WAITALL), 5);
    EXPECT_STREQ(text, "abcde");
    EXPECT_EQ(::recv(pair.other.get(), text, 5, MSG_WAITALL), 1);
    EXPECT_EQ(::recv(pair.other.get(), text, 5, MSG_WAITALL), 0);
    writer.join();
  });
}

TEST(Transfer, WhoAskedNotToWaitDoesNot) {
  on_fiber([] {
    Ends pair = socket_pair();
    char byte;
    EXPECT_EQ(::recv(pair.one.get(), &byte, 1, MSG_DONTWAIT), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(::fcntl(pair.one.get(), F_SETFL, O_RDWR | O_NONBLOCK), 0);
    EXPECT_EQ(::read(pair.one.get(), &byte, 1), -1);
    EXPECT_EQ(errno, EAGAIN);
    Ends pipe = make_pipe();
    EXPECT_EQ(::fcntl(pipe.one.get(), F_SETFL, O_NONBLOCK), 0);
    EXPECT_EQ(::read(pipe.one.get(), &byte, 1), -1);
    EXPECT_EQ(errno, EAGAIN);
  });
}

TEST(Transfer, FlagsStayTheProgrammes) {
  on_fiber([] {
    Ends pair = socket_pair();
    Fiber reader = spawn("reader", [&] {
      char byte;
      EXPECT_EQ(::read(pair.one.get(), &byte, 1), 1);
    });
    ::usleep(1'000);
    EXPECT_EQ(::fcntl(pair.one.get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(::write(pair.other.get(), "x", 1), 1);
    reader.join();
    EXPECT_EQ(::fcntl(pair.one.get(), F_GETFL) & O_NONBLOCK, 0);
  });
}

TEST(Transfer, SocketTimeoutsEndAWait) {
  on_fiber([] {
    Ends pair = socket_pair();
    timeval bound{0, 20'000};
    ::setsockopt(pair.one.get(), SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    char byte;
    const Duration took = time_of([&] {
      EXPECT_EQ(::recv(pair.one.get(), &byte, 1, 0), -1);
      EXPECT_EQ(errno, EAGAIN);
    });
    EXPECT_GE(took, milliseconds(20));
    EXPECT_LT(took, seconds(2));
  });
}

TEST(Transfer, WhatWasSentBeforeATimeoutIsTold) {
  on_fiber([] {
    Ends pair = socket_pair();
    timeval bound{0, 10'000};
    ::setsockopt(pair.one.get(), SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    const std::string much(10'000'000, 'x');
    const ssize_t sent = ::send(pair.one.get(), much.data(), much.size(), 0);
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, static_cast<ssize_t>(much.size()));
    EXPECT_EQ(::send(pair.one.get(), "x", 1, 0), -1);
    EXPECT_EQ(errno, EAGAIN);
  });
}

TEST(Transfer, CloseEndsTheWaitsOfOthers) {
  on_fiber([] {
    Ends pair = socket_pair();
    Fiber reader = spawn("reader", [&] {
      char byte;
      EXPECT_EQ(::read(pair.one.get(), &byte, 1), -1);
      EXPECT_EQ(errno, EBADF);
    });
    ::usleep(1'000);
    pair.one.close();
    reader.join();
  });
}

TEST(Transfer, CloseOnAPlainThreadEndsWaitsToo) {
  on_fiber([] {
    Ends pair = socket_pair();
    std::thread closer([fd = pair.one.get()] {
      ::usleep(20'000);
      ::close(fd);
    });
    char byte;
    EXPECT_EQ(::read(pair.one.get(), &byte, 1), -1);
    EXPECT_EQ(errno, EBADF);
    pair.one.release();
    closer.join();
  });
}

TEST(Transfer, AReusedNumberIsAnother) {
  on_fiber([] {
    // The open file lives on: events of it are of no concern to the number's next one.
    Ends first = socket_pair();
    char byte;
    Fiber reader = spawn("reader", [&] { EXPECT_EQ(::read(first.one.get(), &byte, 1), -1); });
    ::usleep(1'000);
    const int number = first.one.get();
    Fd kept(::dup(number));
    first.one.close();
    reader.join();
    Ends pipe = make_pipe();
    ASSERT_TRUE(pipe.one.get() == number || pipe.other.get() == number);
    Fiber other = spawn("reader", [&] { EXPECT_EQ(::read(pipe.one.get(), &byte, 1), 1); });
    ::usleep(1'000);
    EXPECT_EQ(::write(first.other.get(), "x", 1), 1);
    ::usleep(1'000);
    EXPECT_EQ(::write(pipe.other.get(), "y", 1), 1);
    other.join();
    EXPECT_EQ(byte, 'y');
  });
}

TEST(Transfer, ANumberThatWasClosedUnseenIsAnother) {
  on_fiber([] {
    char byte;
    Ends first = make_pipe();
    EXPECT_EQ(::write(first.other.get(), "x", 1), 1);
    EXPECT_EQ(::read(first.one.get(), &byte, 1), 1);
    Fiber reader = spawn("reader", [&] { EXPECT_EQ(::read(first.one.get(), &byte, 1), 1); });
    ::usleep(1'000);
    EXPECT_EQ(::write(first.other.get(), "x", 1), 1);
    reader.join();
    const int number = first.one.release();
    ::fclose(::fdopen(number, "r"));
    Ends second = make_pipe();
    ASSERT_EQ(second.one.get(), number);
    Fiber next = spawn("reader", [&] { EXPECT_EQ(::read(number, &byte, 1), 1); });
    ::usleep(1'000);
    EXPECT_EQ(::write(second.other.get(), "z", 1), 1);
    next.join();
    EXPECT_EQ(byte, 'z');
  });
}

TEST(Transfer, TheRequestsDeadlineEndsAWait) {
  on_fiber([] {
    Ends pair = socket_pair();
    const DeadlineScope scope(std::chrono::steady_clock::now() + milliseconds(20));
    char byte;
    EXPECT_EQ(::recv(pair.one.get(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    EXPECT_EQ(::recv(pair.one.get(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
  });
}

TEST(Transfer, CancellationEndsAWait) {
  on_fiber([] {
    Ends pair = socket_pair();
    Fiber reader = spawn("reader", [&] {
      char byte;
      EXPECT_EQ(::recv(pair.one.get(), &byte, 1, 0), -1);
      EXPECT_EQ(errno, ECANCELED);
    });
    ::usleep(1'000);
    reader.cancel();
    reader.join();
  });
}

TEST(Transfer, WhoTriesAgainForEverKeepsNobodyFromRunning) {
  on_fiber([] {
    Ends pair = socket_pair();
    bool stop = false;
    Fiber stubborn = spawn("stubborn", [&] {
      const DeadlineScope scope(std::chrono::steady_clock::now());
      char byte;
      while (::recv(pair.one.get(), &byte, 1, 0) < 0 && !stop) continue;
    });
    ::usleep(5'000);
    stop = true;
    stubborn.join();
  });
}

TEST(Transfer, TimersAndEventsAreWaitedFor) {
  on_fiber([] {
    Fd event(::eventfd(0, 0));
    Fiber reader = spawn("reader", [&] {
      std::uint64_t count = 0;
      EXPECT_EQ(::read(event.get(), &count, sizeof count), 8);
      EXPECT_EQ(count, 3u);
    });
    ::usleep(1'000);
    const std::uint64_t three = 3;
    EXPECT_EQ(::write(event.get(), &three, sizeof three), 8);
    reader.join();

    Fd timer(::timerfd_create(CLOCK_MONOTONIC, 0));
    itimerspec at{{}, {0, 5'000'000}};
    EXPECT_EQ(::timerfd_settime(timer.get(), 0, &at, nullptr), 0);
    bool ran = false;
    Fiber other = spawn("other", [&] { ran = true; });
    std::uint64_t expirations = 0;
    EXPECT_EQ(::read(timer.get(), &expirations, sizeof expirations), 8);
    EXPECT_EQ(expirations, 1u);
    EXPECT_TRUE(ran);
    other.join();
  });
}

TEST(Transfer, FilesAreLeftAlone) {
  on_fiber([] {
    char path[] = "/tmp/penstock-interpose-XXXXXX";
    Fd file(::mkstemp(path));
    ::unlink(path);
    EXPECT_EQ(::write(file.get(), "text", 4), 4);
    EXPECT_EQ(::lseek(file.get(), 0, SEEK_SET), 0);
    char text[5] = {};
    EXPECT_EQ(::read(file.get(), text, 4), 4);
    EXPECT_STREQ(text, "text");
    EXPECT_EQ(::read(file.get(), text, 4), 0);
  });
}

TEST(Transfer, AFileIsSentWhole) {
  on_fiber([] {
    char path[] = "/tmp/penstock-interpose-XXXXXX";
    Fd file(::mkstemp(path));
    ::unlink(path);
    const std::string text = numbers(2'000'000);
    ASSERT_EQ(::write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    Ends pair = socket_pair();
    Fiber sender = spawn("sender", [&] {
      off_t offset = 0;
      EXPECT_EQ(::sendfile(pair.one.get(), file.get(), &offset, text.size()), static_cast<ssize_t>(text.size()));
      EXPECT_EQ(offset, static_cast<off_t>(text.size()));
      EXPECT_EQ(::fcntl(pair.one.get(), F_GETFL) & O_NONBLOCK, 0);
      pair.one.close();
    });
    EXPECT_EQ(read_all(pair.other.get()), text);
    sender.join();
  });
}

TEST(Transfer, SplicedDataIsWaitedFor) {
  on_fiber([] {
    Ends pair = socket_pair();
    Ends pipe = make_pipe();
    Fiber sender = spawn("sender", [&] {
      ::usleep(1'000);
      EXPECT_EQ(::write(pair.one.get(), "abc", 3), 3);
    });
    EXPECT_EQ(::splice(pair.other.get(), nullptr, pipe.other.get(), nullptr, 100, 0), 3);
    char text[4] = {};
    EXPECT_EQ(::read(pipe.one.get(), text, 3), 3);
    EXPECT_STREQ(text, "abc");
    sender.join();
  });
}

TEST(Transfer, DatagramsKeepTheirEdges) {
  on_fiber([] {
    Ends pair = socket_pair(SOCK_DGRAM);
    Fiber sender = spawn("sender", [&] {
      ::usleep(1'000);
      mmsghdr messages[3]{};
      iovec parts[3] = {{const_cast<char*>("a"), 1}, {const_cast<char*>("bb"), 2}, {const_cast<char*>("ccc"), 3}};
      for (int i = 0; i < 3; ++i) {
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
      }
      EXPECT_EQ(::sendmmsg(pair.one.get(), messages, 3, 0), 3);
    });
    char text[3][10];
    mmsghdr messages[3]{};
    iovec parts[3];
    for (int i = 0; i < 3; ++i) {
      parts[i] = {text[i], 10};
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    EXPECT_EQ(::recvmmsg(pair.other.get(), messages, 3, MSG_WAITALL, nullptr), 3);
    for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(messages[i].msg_len, i + 1);
    sender.join();
  });
}

TEST(Transfer, WhatABrokenPipeSaysIsSaid) {
  ::signal(SIGPIPE, SIG_IGN);
  on_fiber([] {
    Ends pair = socket_pair();
    pair.other.close();
    EXPECT_EQ(::write(pair.one.get(), "x", 1), -1);
    EXPECT_EQ(errno, EPIPE);
    Ends pipe = make_pipe();
    pipe.one.close();
    EXPECT_EQ(::write(pipe.other.get(), "x", 1), -1);
    EXPECT_EQ(errno, EPIPE);
    EXPECT_EQ(::read(-1, nullptr, 0), -1);
    EXPECT_EQ(errno, EBADF);
  });
}

}  // namespace
}  // namespace penstock::interpose
