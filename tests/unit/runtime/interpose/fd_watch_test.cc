#include <fcntl.h>
#include <poll.h>

#include <atomic>
#include <thread>
#include <vector>

#include "runtime/net/socket.h"
#include "tests/unit/runtime/interpose/fixture.h"

namespace penstock::interpose {
namespace {

class OnThreads : public ::testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Of, OnThreads, ::testing::Values(1u, 2u, 4u, 8u));

TEST_P(OnThreads, FibersWaitForOneDescriptor) {
  fiber::Threads threads(GetParam());
  Ends pair = socket_pair();
  std::atomic<int> got{0};
  std::vector<std::function<void()>> ends;
  for (unsigned i = 0; i < threads.size(); ++i) {
    ends.push_back(threads.start(
        [&] {
          std::vector<Fiber> readers;
          for (int each = 0; each < 5; ++each) {
            readers.push_back(spawn("reader", [&] {
              char byte;
              EXPECT_EQ(::read(pair.one.get(), &byte, 1), 1);
              ++got;
            }));
          }
          for (Fiber& reader : readers) reader.join();
        },
        i));
  }
  const int bytes = static_cast<int>(5 * threads.size());
  for (int i = 0; i < bytes; ++i) {
    EXPECT_EQ(::write(pair.other.get(), "x", 1), 1);
    std::this_thread::yield();
  }
  for (auto& end : ends) end();
  EXPECT_EQ(got, bytes);
}

TEST_P(OnThreads, CloseEndsTheWaitsOfAll) {
  fiber::Threads threads(GetParam());
  Ends pair = socket_pair();
  const int fd = pair.one.get();
  std::atomic<unsigned> waiting{0};
  std::vector<std::function<void()>> ends;
  for (unsigned i = 0; i < threads.size(); ++i) {
    ends.push_back(threads.start(
        [&] {
          ++waiting;
          pollfd ready{fd, POLLIN, 0};
          const int n = ::poll(&ready, 1, 10'000);
          EXPECT_TRUE(n == 1 && (ready.revents & POLLNVAL) != 0) << n << ' ' << ready.revents;
        },
        i));
  }
  while (waiting != threads.size()) std::this_thread::yield();
  ::usleep(10'000);
  pair.one.close();
  for (auto& end : ends) end();
}

TEST_P(OnThreads, NothingStaysOfAThreadThatHasEnded) {
  Ends pair = socket_pair();
  for (int round = 0; round < 3; ++round) {
    fiber::Threads threads(GetParam());
    for (unsigned i = 0; i < threads.size(); ++i) {
      auto end = threads.start(
          [&] {
            char byte;
            EXPECT_EQ(::read(pair.one.get(), &byte, 1), 1);
          },
          i);
      ::usleep(1'000);
      EXPECT_EQ(::write(pair.other.get(), "x", 1), 1);
      end();
    }
  }
  // Would look at what is gone.
  pair.one.close();
}

TEST(FdWatch, ADescriptorOfTheRuntimesOwnCanBePolled) {
  on_fiber([] {
    Ends pair = socket_pair();
    ::fcntl(pair.one.get(), F_SETFL, O_RDWR | O_NONBLOCK);
    net::Socket socket(pair.one.release());
    Fiber writer = spawn("writer", [&] {
      sleep_for(milliseconds(2));
      EXPECT_EQ(::write(pair.other.get(), "xy", 2), 2);
    });
    pollfd ready{socket.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, 10'000), 1);
    writer.join();
    // And it still waits itself.
    char text[2];
    const iovec part{text, 2};
    net::error_code ec;
    EXPECT_EQ(socket.read_parts(&part, 1, ec), 2u);
    Fiber later = spawn("writer", [&] {
      sleep_for(milliseconds(2));
      EXPECT_EQ(::write(pair.other.get(), "z", 1), 1);
    });
    EXPECT_EQ(socket.read_parts(&part, 1, ec), 1u);
    later.join();
  });
}

TEST(FdWatch, AWaitThatIsGivenUpPassesItsConnectionOn) {
  on_fiber([] {
    Listening listener = listening();
    // The first in the line is cancelled at the moment at which a connection comes.
    for (int round = 0; round < 20; ++round) {
      Fiber first = spawn("first", [&] { Fd(::accept(listener.fd.get(), nullptr, nullptr)); });
      Fiber second = spawn("second", [&] { Fd(::accept(listener.fd.get(), nullptr, nullptr)); });
      ::usleep(200);
      Fd one = connected_to(listener.address);
      first.cancel();
      Fd other = connected_to(listener.address);
      first.join();
      EXPECT_TRUE(second.join_for(seconds(5)));
      // What nobody took is not for the next round.
      ::fcntl(listener.fd.get(), F_SETFL, O_RDWR | O_NONBLOCK);
      for (int left; (left = ::accept(listener.fd.get(), nullptr, nullptr)) >= 0;) ::close(left);
      ::fcntl(listener.fd.get(), F_SETFL, O_RDWR);
    }
  });
}

}  // namespace
}  // namespace penstock::interpose
