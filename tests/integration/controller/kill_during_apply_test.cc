#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <map>
#include <random>
#include <thread>

#include "penstock/v1/admin.grpc.pb.h"
#include "tests/integration/controller/controller_process.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

constexpr int kKills = 50;

// The content tells the revisions apart: `max` is different in each.
v1::ApplyPolicyRequest request(int max) {
  v1::ApplyPolicyRequest request;
  request.mutable_policy()->mutable_metadata()->set_name("shop");
  auto* spec = request.mutable_policy()->mutable_spec();
  spec->set_service("shop");
  auto* pool = spec->add_pools();
  pool->set_name("default");
  pool->set_max(max);
  return request;
}

TEST(KillDuringApply, NoAcknowledgedRevisionIsLostAndNumbersHaveNoGap) {
  TemporaryDirectory directory;
  std::mt19937 random(20260101);
  std::map<std::int64_t, int> acknowledged;  // revision -> max
  int max = 1000;
  for (int kill = 0; kill < kKills; ++kill) {
    ControllerProcess controller(directory.path(), {"--log-level", "error"});
    std::atomic<bool> first{false};
    std::thread applying([&] {
      const auto stub = v1::AdminService::NewStub(controller.channel());
      for (;;) {
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
        context.set_wait_for_ready(!first);
        v1::ApplyPolicyResponse response;
        const auto status = stub->ApplyPolicy(&context, request(++max), &response);
        if (!status.ok()) return;
        acknowledged[response.policy().metadata().revision()] = response.policy().spec().pools(0).max();
        first = true;
      }
    });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!first && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<>(0, 30'000)(random)));
    controller.end(SIGKILL);
    applying.join();
    ASSERT_TRUE(first) << controller.log();
  }

  ControllerProcess controller(directory.path());
  const auto stub = v1::AdminService::NewStub(controller.channel());
  std::map<std::int64_t, int> stored;
  v1::ListPolicyRevisionsRequest list;
  list.set_name("shop");
  list.set_page_size(1000);
  do {
    grpc::ClientContext context;
    v1::ListPolicyRevisionsResponse page;
    const auto status = stub->ListPolicyRevisions(&context, list, &page);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (const auto& revision : page.revisions())
      stored[revision.policy().metadata().revision()] = revision.policy().spec().pools(0).max();
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());

  for (const auto& [revision, content] : acknowledged) {
    ASSERT_TRUE(stored.contains(revision)) << "revision " << revision << " was acknowledged and is gone";
    EXPECT_EQ(stored[revision], content);
  }
  ASSERT_FALSE(stored.empty());
  EXPECT_EQ(stored.begin()->first, 1);
  EXPECT_EQ(stored.rbegin()->first, static_cast<std::int64_t>(stored.size())) << "numbers with a gap";
  grpc::ClientContext context;
  v1::GetPolicyRequest get;
  get.set_name("shop");
  v1::Policy policy;
  ASSERT_TRUE(stub->GetPolicy(&context, get, &policy).ok());
  EXPECT_EQ(policy.metadata().revision(), stored.rbegin()->first);
  RecordProperty("revisions", static_cast<int>(stored.size()));
}

}  // namespace
}  // namespace penstock::controller
