#include "controller/service/decision_watch.h"

#include <deque>
#include <memory>
#include <mutex>

#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

// Decisions that wait for a slow watcher; beyond, it reads them from the store.
constexpr std::size_t kQueueMax = 1000;
constexpr int kBatch = 100;

bool matches(const v1::WatchDecisionsRequest& request, const v1::Decision& decision) {
  return (request.kind().empty() || request.kind() == decision.kind()) &&
         (request.name().empty() || request.name() == decision.name()) &&
         (request.service().empty() || request.service() == decision.service());
}

// Reactions may run inside of the call that starts an operation, hence the recursive mutex. After Finish() nothing is
// started any more, and OnDone() gives up the reactor's hold on itself.
class Watch final : public grpc::ServerWriteReactor<v1::Decision>, public std::enable_shared_from_this<Watch> {
 public:
  Watch(DecisionLog& log, const v1::WatchDecisionsRequest& request) : log_(log), request_(request) {}

  void start(const absl::Status& allowed) {
    self_ = shared_from_this();
    const auto hold = self_;
    std::lock_guard lock(mutex_);
    if (!allowed.ok()) return finish(errors::to_grpc(allowed));
    if (request_.after_id() < 0)
      return finish(errors::to_grpc(errors::argument_invalid("after_id", "must not be negative")));
    key_ = log_.subscribe([weak = weak_from_this()](const v1::Decision& decision) {
      if (const auto watch = weak.lock()) watch->decided(decision);
    });
    behind_ = request_.after_id() > 0;
    sent_ = behind_ ? request_.after_id() : log_.last_id();
    StartSendInitialMetadata();
  }

  void OnSendInitialMetadataDone(bool ok) override {
    const auto hold = self_;
    std::lock_guard lock(mutex_);
    idle_ = true;
    if (ok) next();
  }
  void OnWriteDone(bool ok) override {
    const auto hold = self_;
    std::lock_guard lock(mutex_);
    idle_ = true;
    if (ok) next();
  }
  void OnCancel() override {
    const auto hold = self_;
    std::lock_guard lock(mutex_);
    finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    // Without waiting: this may run while the lock is held that the listener waits for.
    if (key_ != 0) log_.unsubscribe_soon(key_);
    self_.reset();
  }

 private:
  void decided(const v1::Decision& decision) {
    std::lock_guard lock(mutex_);
    if (finished_ || !matches(request_, decision)) return;
    if (queue_.size() >= kQueueMax) {
      queue_.clear();
      behind_ = true;
    }
    if (!behind_) queue_.push_back(decision);
    if (idle_ && !behind_) next();
  }

  void next() {
    if (finished_ || !idle_) return;
    if (behind_ && batch_.empty()) {
      DecisionFilter filter{.kind = request_.kind(), .name = request_.name(), .service = request_.service()};
      auto found = log_.list_after(filter, sent_, kBatch);
      if (!found.ok()) return finish(errors::to_grpc(found.status()));
      for (auto& decision : *found) batch_.push_back(std::move(decision));
      // What became durable since is in the queue, or will be told.
      if (batch_.size() < kBatch) behind_ = false;
    }
    for (auto* source : {&batch_, &queue_}) {
      while (!source->empty()) {
        current_ = std::move(source->front());
        source->pop_front();
        if (current_.id() <= sent_) continue;
        sent_ = current_.id();
        idle_ = false;
        StartWrite(&current_);
        return;
      }
    }
  }

  void finish(const grpc::Status& status) {
    if (finished_) return;
    finished_ = true;
    Finish(status);
  }

  DecisionLog& log_;
  const v1::WatchDecisionsRequest request_;
  std::shared_ptr<Watch> self_;
  std::uint64_t key_ = 0;

  std::recursive_mutex mutex_;
  std::deque<v1::Decision> queue_, batch_;
  v1::Decision current_;
  std::int64_t sent_ = 0;
  // The store has what the queue has not.
  bool behind_ = false;
  bool idle_ = false;
  bool finished_ = false;
};

}  // namespace

grpc::ServerWriteReactor<v1::Decision>* watch_decisions(DecisionLog& log, const v1::WatchDecisionsRequest& request,
                                                        const absl::Status& allowed) {
  auto watch = std::make_shared<Watch>(log, request);
  watch->start(allowed);
  return watch.get();
}

}  // namespace penstock::controller
