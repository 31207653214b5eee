#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "echo_server.h"

namespace penstock::grpc {
namespace {

using namespace std::chrono_literals;

TEST(GrpcDrain, FinishesWhatIsInFlight) {
  EchoServer echo;
  std::atomic<bool> go{false};
  echo.service.say = [&](ServerContext&, const echo::Text&, echo::Text&) {
    while (!go) sleep_for(1ms);
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  auto call = std::async(std::launch::async, [&] {
    echo::Text reply;
    return stub->Say(context().get(), text("x"), &reply);
  });
  ASSERT_TRUE(eventually([&] { return echo.service.running == 1; }));
  echo.runtime->stop();
  ASSERT_TRUE(eventually([&] { return echo.runtime->draining(); }));
  // Nothing new is taken.
  const auto late = echo.plain_stub();
  ASSERT_TRUE(eventually([&] {
    echo::Text reply;
    return late->Say(context(500ms).get(), text("x"), &reply).error_code() == StatusCode::UNAVAILABLE;
  }));
  go = true;
  EXPECT_TRUE(call.get().ok());
  echo.runtime.stop();
}

TEST(GrpcDrain, CancelsWhatIsLeftAfterTheGrace) {
  EchoServer echo(1, 50ms);
  echo.service.say = [](ServerContext&, const echo::Text&, echo::Text&) {
    sleep_for(1h);
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  auto waiting = std::async(std::launch::async, [&] {
    echo::Text reply;
    return stub->Say(context().get(), text("x"), &reply);
  });
  // Waits in a read of its stream.
  ClientContext with;
  auto talk = stub->Talk(&with);
  talk->Write(text("x"));
  ASSERT_TRUE(eventually([&] { return echo.service.running == 2; }));
  echo.runtime.stop();
  const Status status = waiting.get();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "stopping");
  echo::Text row;
  while (talk->Read(&row)) {
  }
  EXPECT_EQ(talk->Finish().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(echo.service.running, 0);
}

TEST(GrpcDrain, AServerThatIsDestroyedEndsItsCalls) {
  http::RunningRuntime runtime(2);
  EchoService service;
  service.say = [](ServerContext&, const echo::Text&, echo::Text&) {
    sleep_for(1h);
    return Status::OK;
  };
  auto server = std::make_unique<Server>(*runtime);
  server->add(service);
  server->start();
  runtime.start();
  const auto stub = echo::Echo::NewStub(
      ::grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()), ::grpc::InsecureChannelCredentials()));
  auto call = std::async(std::launch::async, [&] {
    echo::Text reply;
    return stub->Say(context().get(), text("x"), &reply);
  });
  ASSERT_TRUE(eventually([&] { return service.running == 1; }));
  server.reset();
  EXPECT_EQ(service.running, 0);
  EXPECT_FALSE(call.get().ok());
}

TEST(GrpcDrain, AServerThatNeverStartedEnds) {
  Runtime runtime({.threads = 1});
  EchoService service;
  Server server(runtime);
  server.add(service);
}

TEST(GrpcDrain, ServersOfManyThreadsLeaveNothing) {
  for (unsigned threads : {1u, 2u, 4u, 8u}) {
    EchoServer echo(threads);
    const auto stub = echo.stub();
    std::atomic<int> answered{0};
    for (int i = 0; i < 200; ++i) {
      echo.runtime->spawn("caller", [&] {
        echo::Text reply;
        if (stub->Say(context().get(), text("x"), &reply).ok()) ++answered;
      });
    }
    EXPECT_TRUE(eventually([&] { return answered == 200; })) << threads << " threads: " << answered;
    EXPECT_TRUE(eventually([&] { return echo.service.running == 0; }));
  }
}

}  // namespace
}  // namespace penstock::grpc
