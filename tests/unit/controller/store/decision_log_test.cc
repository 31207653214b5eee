#include "controller/store/decision_log.h"

#include <gtest/gtest.h>

#include <mutex>

#include "controller/store/store.h"
#include "proto/errors/error.h"
#include "tests/unit/controller/manual_clock.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

v1::Decision decision(const std::string& kind, const std::string& name, const std::string& action) {
  v1::Decision result;
  result.set_kind(kind);
  result.set_name(name);
  result.set_service("shop");
  result.set_action(action);
  return result;
}

class OpenLog : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    auto opened = Store::open(directory_.path(), clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
    log_ = std::make_unique<DecisionLog>(*store_, clock_, std::chrono::hours(1));
  }
  void reopen() {
    log_.reset();
    store_.reset();
    open();
  }

  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<DecisionLog> log_;
};

TEST_F(OpenLog, ListsNewestFirstAndByPage) {
  for (int i = 0; i < 5; ++i) log_->append(decision("pool", "default", "resize"));
  log_->append(decision("upstream", "A", "trip"));
  auto page = log_->list({.kind = "pool"}, 3, 0);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->size(), 3u);
  EXPECT_EQ((*page)[0].id(), 5);
  EXPECT_EQ((*page)[2].id(), 3);
  auto rest = log_->list({.kind = "pool"}, 3, 3);
  ASSERT_EQ(rest->size(), 2u);
  EXPECT_EQ((*rest)[1].id(), 1);
  EXPECT_EQ(log_->list({.action = "trip"}, 10, 0)->size(), 1u);
}

TEST_F(OpenLog, FiltersByTime) {
  log_->append(decision("pool", "default", "resize"));
  clock_.advance(std::chrono::seconds(10));
  const auto middle = clock_.wall();
  log_->append(decision("pool", "default", "hold"));
  EXPECT_EQ(log_->list({.since = middle}, 10, 0)->front().action(), "hold");
  EXPECT_EQ(log_->list({.until = middle - std::chrono::seconds(1)}, 10, 0)->front().action(), "resize");
}

TEST_F(OpenLog, IdsGoOnAfterARestart) {
  EXPECT_EQ(log_->append(decision("pool", "default", "resize")), 1);
  reopen();
  EXPECT_EQ(log_->last_id(), 1);
  EXPECT_EQ(log_->append(decision("pool", "default", "resize")), 2);
  EXPECT_EQ(log_->list({}, 10, 0)->size(), 2u);
}

TEST_F(OpenLog, ResumesAfterAnIdAndSaysWhenThatIsGone) {
  for (int i = 0; i < 3; ++i) log_->append(decision("pool", "default", "resize"));
  ASSERT_TRUE(log_->flush().ok());
  auto after = log_->list_after({}, 1, 10);
  ASSERT_TRUE(after.ok());
  ASSERT_EQ(after->size(), 2u);
  EXPECT_EQ(after->front().id(), 2);

  clock_.advance(std::chrono::hours(2));
  log_->append(decision("pool", "default", "resize"));
  ASSERT_TRUE(log_->flush().ok());
  auto pruned = log_->prune();
  ASSERT_TRUE(pruned.ok());
  EXPECT_EQ(*pruned, 3);
  const auto gone = log_->list_after({}, 1, 10).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(errors::from_absl(gone)->reason, errors::Reason::compacted);
  EXPECT_EQ(log_->list_after({}, 3, 10)->front().id(), 4);
}

TEST_F(OpenLog, TellsListenersOnlyWhatIsDurable) {
  std::mutex mutex;
  std::vector<std::int64_t> told;
  const auto key = log_->subscribe([&](const v1::Decision& decision) {
    std::lock_guard lock(mutex);
    told.push_back(decision.id());
  });
  log_->append(decision("pool", "default", "resize"));
  log_->append(decision("pool", "default", "resize"));
  // The writer has told everybody when it has ended.
  log_.reset();
  EXPECT_EQ(told, (std::vector<std::int64_t>{1, 2}));
  (void)key;
}

}  // namespace
}  // namespace penstock::controller
