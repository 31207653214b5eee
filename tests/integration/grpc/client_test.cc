#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "echo_server.h"

namespace penstock::grpc {
namespace {

using namespace std::chrono_literals;

TEST(GrpcClient, UnaryCallOnAFiber) {
  EchoServer echo;
  const auto stub = echo.stub();
  echo.runtime.on_fiber([&] {
    echo::Text reply;
    const Status status = stub->Say(context().get(), text("hello", 7), &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(reply.text(), "hello");
    EXPECT_EQ(reply.number(), 7);
  });
}

TEST(GrpcClient, StreamsOfAllKindsOnAFiber) {
  EchoServer echo;
  const auto stub = echo.stub();
  echo.runtime.on_fiber([&] {
    auto first = context();
    auto list = stub->List(first.get(), text("row", 100));
    echo::Text row;
    std::int64_t rows = 0;
    while (list->Read(&row)) EXPECT_EQ(row.number(), rows++);
    EXPECT_EQ(rows, 100);
    EXPECT_TRUE(list->Finish().ok());

    auto second = context();
    echo::Text sum;
    auto writer = stub->Sum(second.get(), &sum);
    for (int i = 1; i <= 100; ++i) EXPECT_TRUE(writer->Write(text("", i)));
    EXPECT_TRUE(writer->WritesDone());
    EXPECT_TRUE(writer->Finish().ok());
    EXPECT_EQ(sum.number(), 5050);

    auto third = context();
    auto talk = stub->Talk(third.get());
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(talk->Write(text("", i)));
      ASSERT_TRUE(talk->Read(&row));
      EXPECT_EQ(row.number(), i);
    }
    EXPECT_TRUE(talk->WritesDone());
    EXPECT_FALSE(talk->Read(&row));
    EXPECT_TRUE(talk->Finish().ok());
  });
}

TEST(GrpcClient, TwoFibersShareABidirectionalStream) {
  EchoServer echo;
  const auto stub = echo.stub();
  echo.runtime.on_fiber([&] {
    auto with = context();
    auto talk = stub->Talk(with.get());
    int read = 0;
    Fiber reader = spawn("reader", [&] {
      echo::Text row;
      while (talk->Read(&row)) ++read;
    });
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(talk->Write(text("x", i)));
    EXPECT_TRUE(talk->WritesDone());
    reader.join();
    EXPECT_EQ(read, 1000);
    EXPECT_TRUE(talk->Finish().ok());
  });
}

TEST(GrpcClient, AThousandCallsAreInFlightAtOnceOnOneThread) {
  constexpr int kCalls = 1000;
  EchoServer echo(1);
  echo.service.say = [&](ServerContext&, const echo::Text&, echo::Text&) {
    // Holds all until the last has come.
    while (echo.service.running < kCalls) sleep_for(5ms);
    sleep_for(10ms);
    return Status::OK;
  };
  const auto stub = echo.stub();
  std::atomic<int> answered{0};
  for (int i = 0; i < kCalls; ++i) {
    echo.runtime->spawn("caller", [&] {
      echo::Text reply;
      if (stub->Say(context().get(), text("x"), &reply).ok()) ++answered;
    });
  }
  EXPECT_TRUE(eventually([&] { return answered == kCalls; })) << answered << " of " << kCalls;
}

TEST(GrpcClient, ACancelledFiberCancelsItsCallAndTheHandler) {
  EchoServer echo;
  std::atomic<bool> handler_cancelled{false};
  echo.service.say = [&](ServerContext&, const echo::Text&, echo::Text&) {
    try {
      sleep_for(1h);
    } catch (const Cancelled&) {
      handler_cancelled = true;
      throw;
    }
    return Status::OK;
  };
  const auto stub = echo.stub();
  std::promise<Status> ended;
  Fiber caller = echo.runtime->spawn("caller", [&] {
    echo::Text reply;
    ClientContext unbounded;
    ended.set_value(stub->Say(&unbounded, text("x"), &reply));
  });
  ASSERT_TRUE(eventually([&] { return echo.service.running == 1; }));
  caller.cancel();
  EXPECT_EQ(ended.get_future().get().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(eventually([&] { return handler_cancelled.load(); }));
}

TEST(GrpcClient, TheFibersDeadlineBoundsTheCall) {
  EchoServer echo;
  echo.service.say = [](ServerContext&, const echo::Text&, echo::Text&) {
    sleep_for(1h);
    return Status::OK;
  };
  const auto stub = echo.stub();
  echo.runtime.on_fiber([&] {
    const DeadlineScope deadline(std::chrono::steady_clock::now() + 50ms);
    echo::Text reply;
    ClientContext unbounded;
    EXPECT_EQ(stub->Say(&unbounded, text("x"), &reply).error_code(), StatusCode::DEADLINE_EXCEEDED);
    EXPECT_THROW(sleep_for(1ms), DeadlineExceeded);
  });
  // The handler's as well.
  EXPECT_TRUE(eventually([&] { return echo.service.running == 0; }));
}

class GrpcUpstream : public ::testing::Test {
 protected:
  GrpcUpstream() {
    decision::Policy policy;
    decision::UpstreamPolicy upstream;
    upstream.name = "echo";
    upstream.hosts = {"echo.internal"};
    upstream.timeout = 5s;
    policy.upstreams.push_back(upstream);
    echo.runtime->apply_policy(policy);
  }
  Runtime::UpstreamStats stats() {
    for (auto& upstream : echo.runtime->stats().upstreams) {
      if (upstream.name == "echo") return upstream;
    }
    return {};
  }
  EchoServer echo;
};

TEST_F(GrpcUpstream, CountsCallsByTheirStatus) {
  echo.service.say = [](ServerContext&, const echo::Text& request, echo::Text&) {
    return Status(static_cast<StatusCode>(request.number()), "as asked");
  };
  const auto stub = echo.stub("echo");
  const auto call = [&](StatusCode code) {
    echo.runtime.on_fiber([&] {
      echo::Text reply;
      EXPECT_EQ(stub->Say(context().get(), text("", code), &reply).error_code(), code);
    });
  };
  call(StatusCode::OK);
  call(StatusCode::NOT_FOUND);
  call(StatusCode::INTERNAL);
  call(StatusCode::UNAVAILABLE);
  call(StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(stats().attempts, 5u);
  EXPECT_EQ(stats().ok, 2u);
  EXPECT_EQ(stats().errors, 2u);
  EXPECT_EQ(stats().timeouts, 1u);
  EXPECT_EQ(stats().in_flight, 0);
}

TEST_F(GrpcUpstream, AnOpenBreakerEndsCallsWithoutThem) {
  echo.runtime->trip_breaker("echo", "test");
  const auto stub = echo.stub("echo");
  std::atomic<int> served{0};
  echo.service.say = [&](ServerContext&, const echo::Text&, echo::Text&) {
    ++served;
    return Status::OK;
  };
  echo.runtime.on_fiber([&] {
    echo::Text reply;
    const Status status = stub->Say(context().get(), text("x"), &reply);
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), "upstream echo: breaker");

    auto with = context();
    auto list = stub->List(with.get(), text("row", 3));
    EXPECT_FALSE(list->Read(&reply));
    EXPECT_EQ(list->Finish().error_code(), StatusCode::UNAVAILABLE);
  });
  EXPECT_EQ(served, 0);
  EXPECT_EQ(stats().rejected, 2u);
}

TEST_F(GrpcUpstream, AStreamThatIsLeftGivesItsPlaceBack) {
  const auto stub = echo.stub("echo");
  echo.runtime.on_fiber([&] {
    auto with = context();
    auto talk = stub->Talk(with.get());
    EXPECT_TRUE(talk->Write(text("x")));
    EXPECT_EQ(stats().in_flight, 1);
  });
  EXPECT_EQ(stats().in_flight, 0);
  EXPECT_EQ(stats().cancelled, 1u);
  EXPECT_TRUE(eventually([&] { return echo.service.running == 0; }));
}

TEST(GrpcClient, AServerThatIsGoneIsAStatus) {
  auto echo = std::make_unique<EchoServer>();
  http::RunningRuntime runtime(1);
  const auto stub = echo::Echo::NewStub(channel(*runtime, "", echo->target(), ::grpc::InsecureChannelCredentials()));
  std::promise<void> connected;
  std::promise<Status> ended;
  runtime->spawn("caller", [&] {
    ClientContext unbounded;
    auto talk = stub->Talk(&unbounded);
    echo::Text row;
    talk->Write(text("x"));
    if (talk->Read(&row)) connected.set_value();
    while (talk->Read(&row)) {
    }
    ended.set_value(talk->Finish());
  });
  connected.get_future().get();
  echo.reset();
  EXPECT_EQ(ended.get_future().get().error_code(), StatusCode::UNAVAILABLE);
  runtime.on_fiber([&] {
    echo::Text reply;
    EXPECT_EQ(stub->Say(context().get(), text("x"), &reply).error_code(), StatusCode::UNAVAILABLE);
  });
}

TEST(GrpcClient, PlainThreadsCallAsEver) {
  EchoServer echo;
  const auto stub = echo.stub();
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) {
        echo::Text reply;
        if (stub->Say(context().get(), text("x"), &reply).ok()) ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 200);
}

TEST(GrpcClient, AsynchronousCallsOnAFiberAreGrpcsOwn) {
  EchoServer echo;
  const auto stub = echo.stub();
  echo.runtime.on_fiber([&] {
    ::grpc::CompletionQueue queue;
    auto with = context();
    const auto call = stub->AsyncSay(with.get(), text("x"), &queue);
    echo::Text reply;
    Status status;
    call->Finish(&reply, &status, nullptr);
    std::atomic<bool> done{false};
    std::thread waiting([&] {
      void* tag;
      bool ok = false;
      EXPECT_TRUE(queue.Next(&tag, &ok));
      EXPECT_TRUE(ok);
      done = true;
    });
    while (!done) sleep_for(1ms);
    waiting.join();
    EXPECT_EQ(reply.text(), "x");
    EXPECT_TRUE(status.ok());
  });
}

}  // namespace
}  // namespace penstock::grpc
