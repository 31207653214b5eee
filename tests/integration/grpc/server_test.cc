#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "echo_server.h"
#include "penstock/http_client.h"

namespace penstock::grpc {
namespace {

using namespace std::chrono_literals;

Status say(echo::Echo::Stub& stub, std::chrono::milliseconds patience = 20s) {
  echo::Text reply;
  return stub.Say(context(patience).get(), text("x"), &reply);
}

TEST(GrpcServer, RunsSynchronousHandlersOnFibers) {
  EchoServer echo(2);
  echo.service.say = [](ServerContext& context, const echo::Text&, echo::Text& reply) {
    yield();
    reply.set_text(context.peer());
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  echo::Text reply;
  ASSERT_TRUE(stub->Say(context().get(), text("x"), &reply).ok());
  EXPECT_EQ(reply.text().substr(0, 15), "ipv4:127.0.0.1:");

  auto with = context();
  auto list = stub->List(with.get(), text("row", 1000));
  int rows = 0;
  while (list->Read(&reply)) ++rows;
  EXPECT_EQ(rows, 1000);
  EXPECT_TRUE(list->Finish().ok());
}

TEST(GrpcServer, AWriterWaitsForAClientThatDoesNotRead) {
  EchoServer echo(1);
  std::atomic<int> written{0};
  echo.service.list = [&](ServerContext&, ::grpc::ServerWriter<echo::Text>& out) {
    const echo::Text row = text(std::string(64 * 1024, 'x'));
    for (int i = 0; i < 100; ++i, ++written) {
      if (!out.Write(row)) return Status::CANCELLED;
    }
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  auto with = context();
  auto list = stub->List(with.get(), text(""));
  // The handler waits without its thread: others are served meanwhile.
  EXPECT_TRUE(say(*stub).ok());
  EXPECT_LT(written, 100);
  echo::Text row;
  int rows = 0;
  while (list->Read(&row)) ++rows;
  EXPECT_EQ(rows, 100);
  EXPECT_TRUE(list->Finish().ok());
}

TEST(GrpcServer, ExceptionsBecomeStatuses) {
  EchoServer echo;
  const auto stub = echo.plain_stub();
  const auto answer_to = [&](std::function<void()> thrower) {
    echo.service.say = [thrower](ServerContext&, const echo::Text&, echo::Text&) {
      thrower();
      return Status::OK;
    };
    return say(*stub);
  };
  const Status internal = answer_to([] { throw std::runtime_error("password=hunter2"); });
  EXPECT_EQ(internal.error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(internal.error_message(), "internal error");
  EXPECT_EQ(answer_to([] { throw 7; }).error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(answer_to([] { throw DeadlineExceeded("x"); }).error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(answer_to([] { throw http::CallError("refused by 10.1.2.3"); }).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(answer_to([] { throw Rejected(RejectReason::breaker, 0s, "upstream a: breaker"); }).error_code(),
            StatusCode::UNAVAILABLE);

  const Status limited = answer_to([] { throw Rejected(RejectReason::limit, 1500ms, "upstream a: limit"); });
  EXPECT_EQ(limited.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(limited.error_message(), "upstream a: limit");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(limited.error_details()));
  EXPECT_EQ(details.code(), StatusCode::RESOURCE_EXHAUSTED);
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);

  const auto counted = [&](std::string code) {
    return echo.metric("penstock_requests_total",
                       {{"route", "/echo.Echo/Say"}, {"code", std::move(code)}, {"priority", "normal"}});
  };
  EXPECT_TRUE(eventually([&] { return counted("500") == 2 && counted("429") == 1; }));
}

TEST(GrpcServer, ACallOfALeavingClientIsCancelled) {
  EchoServer echo;
  std::atomic<bool> cancelled{false};
  echo.service.say = [&](ServerContext& context, const echo::Text&, echo::Text&) {
    try {
      sleep_for(1h);
    } catch (const Cancelled&) {
      cancelled = context.IsCancelled();
    }
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  ClientContext with;
  std::thread caller([&] {
    echo::Text reply;
    EXPECT_EQ(stub->Say(&with, text("x"), &reply).error_code(), StatusCode::CANCELLED);
  });
  EXPECT_TRUE(eventually([&] { return echo.service.running == 1; }));
  with.TryCancel();
  caller.join();
  EXPECT_TRUE(eventually([&] { return cancelled.load(); }));
  EXPECT_TRUE(eventually([&] {
    return echo.metric("penstock_requests_total",
                       {{"route", "/echo.Echo/Say"}, {"code", "499"}, {"priority", "normal"}}) == 1;
  }));
}

class GrpcPolicy : public ::testing::Test {
 protected:
  void apply(std::function<void(decision::Policy&)> change) {
    decision::Policy policy;
    decision::PoolPolicy pool;
    pool.name = "small";
    pool.min = pool.max = 1;
    pool.fallback_limit = 1;
    pool.queue.max = 0;
    policy.pools.push_back(pool);
    decision::RoutePolicy route;
    route.match = "/echo.Echo/Say";
    route.pool = "small";
    route.priority = decision::Priority::critical;
    policy.routes.push_back(route);
    change(policy);
    echo.runtime->apply_policy(policy);
  }
  EchoServer echo;
};

TEST_F(GrpcPolicy, AFullPoolRefusesWithWhenToRetry) {
  apply([](decision::Policy&) {});
  std::atomic<bool> go{false};
  echo.service.say = [&](ServerContext&, const echo::Text&, echo::Text&) {
    while (!go) sleep_for(1ms);
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  std::thread first([&] { EXPECT_TRUE(say(*stub).ok()); });
  ASSERT_TRUE(eventually([&] { return echo.service.running == 1; }));
  const Status refused = say(*stub);
  go = true;
  first.join();
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED) << refused.error_message();
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(refused.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_TRUE(details.details(0).Is<google::rpc::RetryInfo>());
  EXPECT_TRUE(eventually([&] {
    return echo.metric("penstock_requests_rejected_total",
                       {{"route", "/echo.Echo/Say"}, {"priority", "critical"}, {"reason", "limit"}}) == 1;
  }));
  // Streams of other methods go by the default pool.
  echo::Text row;
  auto with = context();
  auto list = stub->List(with.get(), text("", 1));
  EXPECT_TRUE(list->Read(&row));
}

TEST_F(GrpcPolicy, ThePolicysDeadlineEndsWaitsOfAHandler) {
  apply([](decision::Policy& policy) { policy.routes[0].deadline = 50ms; });
  echo.service.say = [](ServerContext&, const echo::Text&, echo::Text&) {
    sleep_for(1h);
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  EXPECT_EQ(say(*stub).error_code(), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(GrpcPolicy, ThePolicysDeadlineEndsAReadOfAHandler) {
  apply([](decision::Policy& policy) {
    policy.routes[0].match = "/echo.Echo/Sum";
    policy.routes[0].deadline = 50ms;
  });
  const auto stub = echo.plain_stub();
  auto with = context();
  echo::Text reply;
  auto writer = stub->Sum(with.get(), &reply);
  // Sends nothing.
  const Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED) << status.error_message();
  EXPECT_TRUE(eventually([&] { return echo.service.running == 0; }));
}

TEST(GrpcServer, TheClientsDeadlineIsTheHandlers) {
  EchoServer echo;
  std::atomic<bool> bounded{false};
  echo.service.say = [&](ServerContext&, const echo::Text&, echo::Text&) {
    bounded = current_deadline() <= std::chrono::steady_clock::now() + 1s;
    sleep_for(1h);
    return Status::OK;
  };
  const auto stub = echo.plain_stub();
  EXPECT_EQ(say(*stub, 200ms).error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(bounded);
  EXPECT_TRUE(eventually([&] { return echo.service.running == 0; }));
}

TEST(GrpcServer, TheTraceGoesThroughToTheNextCall) {
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EchoServer back;
  std::promise<std::string> seen;
  back.service.say = [&](ServerContext& context, const echo::Text&, echo::Text&) {
    const auto found = context.client_metadata().find("traceparent");
    seen.set_value(found == context.client_metadata().end() ? "none"
                                                            : std::string(found->second.data(), found->second.size()));
    return Status::OK;
  };
  EchoServer front;
  const auto onward =
      echo::Echo::NewStub(channel(*front.runtime, "", back.target(), ::grpc::InsecureChannelCredentials()));
  front.service.say = [&](ServerContext& context, const echo::Text& request, echo::Text& reply) {
    return onward->Say(ClientContext::FromServerContext(context).get(), request, &reply);
  };
  auto with = context();
  with->AddMetadata("traceparent", trace);
  echo::Text reply;
  ASSERT_TRUE(front.plain_stub()->Say(with.get(), text("x"), &reply).ok());
  const std::string sent = seen.get_future().get();
  EXPECT_EQ(sent.substr(0, 36), trace.substr(0, 36));
  EXPECT_NE(sent.substr(36, 16), trace.substr(36, 16));
}

TEST(GrpcServer, RefusesWhatItCannotServe) {
  Runtime runtime({.threads = 1});
  EXPECT_THROW(Server(runtime, {.address = ""}), std::invalid_argument);
  EXPECT_THROW(Server(runtime, {.pollers = 0}), std::invalid_argument);
  echo::Echo::AsyncService asynchronous;
  Server server(runtime, {.address = "127.0.0.1:0"});
  EXPECT_THROW(server.add(asynchronous), std::invalid_argument);
  server.start();
  Server second(runtime, {.address = "127.0.0.1:" + std::to_string(server.port())});
  EXPECT_THROW(second.start(), std::runtime_error);
}

}  // namespace
}  // namespace penstock::grpc
