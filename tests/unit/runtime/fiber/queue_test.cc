#include "penstock/queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Queue, IsFirstInFirstOutWhateverItsRoom) {
  for (const std::size_t capacity : {std::size_t{100}, Queue<int>::kUnbounded}) {
    Queue<int> queue(capacity);
    int in = 0, out = 0;
    for (int burst = 1; burst <= 60; ++burst) {
      for (int i = 0; i < burst; ++i) EXPECT_TRUE(queue.try_push(in++));
      EXPECT_EQ(queue.size(), static_cast<std::size_t>(burst));
      for (int i = 0; i < burst; ++i) EXPECT_EQ(queue.try_pop(), out++);
      EXPECT_FALSE(queue.try_pop());
    }
  }
  EXPECT_THROW(Queue<int>(0), std::invalid_argument);
}

TEST(Queue, HoldsWhatCanOnlyBeMoved) {
  auto counted = std::make_shared<int>(1);
  {
    Queue<std::unique_ptr<std::shared_ptr<int>>> queue(20);
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(queue.push(std::make_unique<std::shared_ptr<int>>(counted)));
    auto refused = std::make_unique<std::shared_ptr<int>>(counted);
    EXPECT_FALSE(queue.try_push(std::move(refused)));
    EXPECT_NE(refused, nullptr);
    EXPECT_EQ(**queue.pop(), counted);
    EXPECT_EQ(counted.use_count(), 21);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

TEST(Queue, PushWaitsForRoomInOrder) {
  Threads threads;
  threads.run([] {
    Queue<int> queue(2);
    std::vector<Fiber> fibers;
    for (int i = 0; i < 6; ++i) fibers.push_back(spawn("pushes", [&, i] { EXPECT_TRUE(queue.push(i)); }));
    yield();
    EXPECT_EQ(queue.size(), 2u);
    for (int i = 0; i < 6; ++i) EXPECT_EQ(queue.pop(), i);
    for (Fiber& fiber : fibers) fiber.join();
  });
}

TEST(Queue, PopWaitsInOrder) {
  Threads threads;
  threads.run([] {
    Queue<int> queue(1);
    std::vector<int> got(4);
    std::vector<Fiber> fibers;
    for (std::size_t i = 0; i < 4; ++i) fibers.push_back(spawn("pops", [&, i] { got[i] = queue.pop().value(); }));
    yield();
    // Handed to those who wait: there is room for all.
    for (int i = 1; i <= 4; ++i) EXPECT_TRUE(queue.try_push(i));
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(got, (std::vector<int>{1, 2, 3, 4}));
  });
}

TEST(Queue, ItemThatWasHandedOverIsReturnedDespiteCancel) {
  Threads threads;
  threads.run([] {
    Queue<int> queue(1);
    int got = 0;
    Fiber fiber = spawn("pops", [&] {
      got = queue.pop().value();
      EXPECT_THROW(sleep_for(1h), Cancelled);
    });
    yield();
    queue.push(7);
    fiber.cancel();
    fiber.join();
    EXPECT_EQ(got, 7);
  });
}

TEST(Queue, ClosedQueueIsDrainedThenEmpty) {
  Threads threads;
  threads.run([] {
    Queue<std::string> queue(2);
    EXPECT_TRUE(queue.push("a"));
    EXPECT_TRUE(queue.push("b"));
    std::string left = "c";
    Fiber waiting = spawn("pushes", [&] { EXPECT_FALSE(queue.push(std::move(left))); });
    yield();
    queue.close();
    waiting.join();
    EXPECT_EQ(left, "c");
    EXPECT_TRUE(queue.closed());
    EXPECT_FALSE(queue.push("d"));
    EXPECT_FALSE(queue.try_push("d"));
    EXPECT_EQ(queue.pop(), "a");
    EXPECT_EQ(queue.pop_until(Clock::now()), "b");
    EXPECT_FALSE(queue.pop());
    EXPECT_FALSE(queue.try_pop());
  });
}

TEST(Queue, CloseEndsAllPops) {
  Threads threads(2);
  Queue<int> queue(1);
  std::vector<std::function<void()>> joins;
  for (unsigned i = 0; i < 6; ++i) joins.push_back(threads.start([&] { EXPECT_FALSE(queue.pop()); }, i % 2));
  std::thread plain([&] { EXPECT_FALSE(queue.pop()); });
  std::this_thread::sleep_for(1ms);
  queue.close();
  plain.join();
  for (auto& join : joins) join();
}

TEST(Channel, SendWaitsForTheReceiver) {
  Threads threads;
  threads.run([] {
    Channel<int> channel;
    EXPECT_FALSE(channel.try_send(1));
    bool sent = false;
    Fiber fiber = spawn("sends", [&] {
      EXPECT_TRUE(channel.send(1));
      sent = true;
    });
    yield();
    yield();
    EXPECT_FALSE(sent);
    EXPECT_EQ(channel.try_receive(), 1);
    fiber.join();
    EXPECT_TRUE(sent);
  });
}

TEST(Channel, CancelledSendKeepsItsItem) {
  Threads threads;
  threads.run([] {
    Channel<std::unique_ptr<int>> channel;
    auto item = std::make_unique<int>(1);
    Fiber fiber = spawn("sends", [&] { EXPECT_THROW(channel.send(std::move(item)), Cancelled); });
    yield();
    fiber.cancel();
    fiber.join();
    EXPECT_NE(item, nullptr);
    EXPECT_FALSE(channel.try_receive());
  });
}

TEST(Channel, CloseEndsBothSides) {
  Threads threads;
  threads.run([] {
    Channel<int> sends, receives, buffered(1);
    Fiber sender = spawn("sends", [&] { EXPECT_FALSE(sends.send(1)); });
    Fiber receiver = spawn("receives", [&] { EXPECT_FALSE(receives.receive()); });
    yield();
    sends.close();
    receives.close();
    sender.join();
    receiver.join();
    EXPECT_TRUE(buffered.send(1));
    buffered.close();
    buffered.close();
    EXPECT_EQ(buffered.receive(), 1);
    EXPECT_FALSE(buffered.receive());
  });
}

TEST(Channel, PipelineOfThreadsAndFibers) {
  Threads threads(2);
  Channel<int> numbers, squares;
  const auto squarer = threads.start([&] {
    while (const auto n = numbers.receive()) squares.send(*n * *n);
    squares.close();
  });
  const auto source = threads.start(
      [&] {
        for (int i = 1; i <= 1000; ++i) numbers.send(i);
        numbers.close();
      },
      1);
  long sum = 0;
  while (const auto n = squares.receive()) sum += *n;
  squarer();
  source();
  EXPECT_EQ(sum, 1000L * 1001 * 2001 / 6);
}

}  // namespace
}  // namespace penstock::fiber
