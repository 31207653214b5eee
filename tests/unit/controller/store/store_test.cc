#include "controller/store/store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "proto/errors/error.h"
#include "tests/unit/controller/manual_clock.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using errors::Reason;

v1::Policy make_policy(const std::string& name, int max) {
  v1::Policy policy;
  policy.mutable_metadata()->set_name(name);
  policy.mutable_spec()->set_service("shop");
  auto* pool = policy.mutable_spec()->add_pools();
  pool->set_name("default");
  pool->set_max(max);
  return policy;
}

Mutation by(const std::string& author) { return {.author = author, .cause = "apply"}; }

Reason reason_of(const absl::Status& status) {
  const auto error = errors::from_absl(status);
  EXPECT_TRUE(error.has_value()) << status;
  return error ? error->reason : Reason::internal;
}

class OpenStore : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    auto opened = Store::open(directory_.path(), clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }
  void reopen() {
    store_.reset();
    open();
  }

  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<Store> store_;
};

TEST_F(OpenStore, NumbersRevisionsFromOneWithoutGaps) {
  for (int i = 1; i <= 3; ++i) {
    auto applied = store_->apply(make_policy("shop", 1000 + i), by("ann"));
    ASSERT_TRUE(applied.ok()) << applied.status();
    EXPECT_TRUE(applied->changed());
    EXPECT_EQ(applied->policy().metadata().revision(), i);
  }
  auto revisions = store_->revisions("shop", 0, 10);
  ASSERT_TRUE(revisions.ok());
  ASSERT_EQ(revisions->size(), 3u);
  EXPECT_EQ(revisions->front().policy().metadata().revision(), 3);
  EXPECT_EQ(revisions->front().policy().spec().pools(0).max(), 1003);
  EXPECT_EQ(revisions->front().author(), "ann");
  EXPECT_EQ(revisions->back().policy().metadata().revision(), 1);
}

TEST_F(OpenStore, EqualSpecMakesNoRevision) {
  ASSERT_TRUE(store_->apply(make_policy("shop", 1000), by("ann")).ok());
  auto again = store_->apply(make_policy("shop", 1000), by("bob"));
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->changed());
  EXPECT_EQ(again->policy().metadata().revision(), 1);
  EXPECT_EQ(store_->revisions("shop", 0, 10)->size(), 1u);
}

TEST_F(OpenStore, PreviewAnswersLikeApplyAndStoresNothing) {
  auto preview = store_->preview(make_policy("shop", 1000), by("ann"));
  ASSERT_TRUE(preview.ok());
  EXPECT_TRUE(preview->changed());
  EXPECT_EQ(preview->policy().metadata().revision(), 1);
  EXPECT_EQ(reason_of(store_->policy("shop").status()), Reason::policy_not_found);
}

TEST_F(OpenStore, RefusesAnotherEtag) {
  auto first = store_->apply(make_policy("shop", 1), by("ann"));
  Mutation mutation = by("bob");
  mutation.etag = first->policy().metadata().etag();
  ASSERT_TRUE(store_->apply(make_policy("shop", 2), mutation).ok());
  const auto stale = store_->apply(make_policy("shop", 3), mutation).status();
  EXPECT_EQ(stale.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(reason_of(stale), Reason::revision_conflict);
  mutation.etag = "0";
  EXPECT_EQ(reason_of(store_->apply(make_policy("shop", 3), mutation).status()), Reason::revision_conflict);
  EXPECT_TRUE(store_->apply(make_policy("other", 3), mutation).ok());
  mutation.etag = "*";
  EXPECT_TRUE(store_->apply(make_policy("shop", 3), mutation).ok());
  EXPECT_EQ(reason_of(store_->apply(make_policy("none", 3), mutation).status()), Reason::revision_conflict);
}

TEST_F(OpenStore, RemovedPolicyKeepsItsHistoryAndItsNumbers) {
  ASSERT_TRUE(store_->apply(make_policy("shop", 1), by("ann")).ok());
  ASSERT_TRUE(store_->remove("shop", {.author = "bob", .cause = "delete"}).ok());
  EXPECT_EQ(reason_of(store_->policy("shop").status()), Reason::policy_not_found);
  EXPECT_EQ(reason_of(store_->remove("shop", by("bob"))), Reason::policy_not_found);
  auto again = store_->apply(make_policy("shop", 1), by("ann"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->policy().metadata().revision(), 3);
  auto revisions = store_->revisions("shop", 0, 10);
  ASSERT_EQ(revisions->size(), 3u);
  EXPECT_EQ((*revisions)[1].cause(), "delete");
  EXPECT_FALSE((*revisions)[1].policy().has_spec());
}

TEST_F(OpenStore, TellsMissingRevisionFromMissingPolicy) {
  ASSERT_TRUE(store_->apply(make_policy("shop", 1), by("ann")).ok());
  EXPECT_EQ(store_->policy_at("shop", 1)->spec().pools(0).max(), 1);
  EXPECT_EQ(reason_of(store_->policy_at("shop", 2).status()), Reason::revision_not_found);
  EXPECT_EQ(reason_of(store_->policy_at("none", 1).status()), Reason::policy_not_found);
}

TEST_F(OpenStore, RepeatedRequestAnswersTheSameForAnHour) {
  Mutation mutation = by("ann");
  mutation.request = {.id = "r1", .method = "apply", .digest = "d1"};
  auto first = store_->apply(make_policy("shop", 1), mutation);
  ASSERT_TRUE(first.ok());
  auto stored = store_->find_result(mutation.request);
  ASSERT_TRUE(stored.ok() && stored->has_value());
  EXPECT_EQ(**stored, first->SerializeAsString());
  RequestKey other = mutation.request;
  other.digest = "d2";
  EXPECT_EQ(reason_of(store_->find_result(other).status()), Reason::request_id_reused);
  reopen();
  EXPECT_TRUE(store_->find_result(mutation.request)->has_value());
  clock_.advance(std::chrono::hours(1));
  EXPECT_FALSE(store_->find_result(mutation.request)->has_value());
  EXPECT_TRUE(store_->apply(make_policy("shop", 2), mutation).ok());
}

TEST_F(OpenStore, SurvivesARestartWithANewEpoch) {
  ASSERT_TRUE(store_->apply(make_policy("shop", 7), by("ann")).ok());
  const auto epoch = store_->epoch();
  reopen();
  EXPECT_EQ(store_->epoch(), epoch + 1);
  EXPECT_EQ(store_->policy("shop")->spec().pools(0).max(), 7);
  EXPECT_EQ(store_->policies("", 10)->size(), 1u);
}

TEST_F(OpenStore, OverridesEndWithTheirTime) {
  v1::Override imposed;
  imposed.set_kind("pool");
  imposed.set_name("default");
  imposed.set_service("shop");
  imposed.set_value("10");
  imposed.mutable_expire_time()->set_seconds(
      std::chrono::duration_cast<std::chrono::seconds>(clock_.wall().time_since_epoch()).count() + 60);
  ASSERT_TRUE(store_->set_override(imposed, {}).ok());
  reopen();
  ASSERT_EQ(store_->overrides()->size(), 1u);
  clock_.advance(std::chrono::seconds(61));
  EXPECT_TRUE(store_->overrides()->empty());
}

TEST_F(OpenStore, SecondControllerIsRefusedAndToldWhoHoldsIt) {
  auto second = Store::open(directory_.path(), clock_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(second.status().message().find("in use by another controller (process " + std::to_string(getpid())),
            std::string::npos)
      << second.status();
}

TEST_F(OpenStore, NewerSchemaIsLeftAlone) {
  store_.reset();
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((directory_.path() + "/penstock.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "UPDATE schema_version SET version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  auto opened = Store::open(directory_.path(), clock_);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(opened.status().message().find("newer program"), std::string::npos);
}

TEST_F(OpenStore, DamagedFileIsReported) {
  store_.reset();
  FILE* file = std::fopen((directory_.path() + "/penstock.db").c_str(), "w");
  std::fputs("this is no database, and long enough to be told from one: ................................", file);
  std::fclose(file);
  EXPECT_EQ(Store::open(directory_.path(), clock_).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace penstock::controller
