#include "controller/service/agent_service.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "controller/service/node_session.h"
#include "controller/service/roles.h"
#include "penstock/v1/agent.grpc.pb.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

class NodeStream;

// Streams that are open.
class OpenStreams {
 public:
  // False when no stream may be opened any more.
  bool add(const std::shared_ptr<NodeStream>& stream) {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    streams_[stream.get()] = stream;
    return true;
  }
  void remove(NodeStream* stream) {
    std::lock_guard lock(mutex_);
    streams_.erase(stream);
  }
  std::vector<std::shared_ptr<NodeStream>> all(bool close = false) {
    std::lock_guard lock(mutex_);
    closed_ |= close;
    std::vector<std::shared_ptr<NodeStream>> result;
    for (const auto& [key, weak] : streams_)
      if (auto stream = weak.lock()) result.push_back(std::move(stream));
    return result;
  }

 private:
  std::mutex mutex_;
  bool closed_ = false;
  std::map<NodeStream*, std::weak_ptr<NodeStream>> streams_;
};

// The transport of one NodeSession. Reactions may run inside of the call that starts an operation, hence the recursive
// mutex. After Finish() nothing is started any more, and OnDone() gives up the stream's hold on itself.
class NodeStream final : public grpc::ServerBidiReactor<v1::AgentMessage, v1::ControllerMessage>,
                         public std::enable_shared_from_this<NodeStream> {
 public:
  NodeStream(NodeSession::Context context, OpenStreams& open) : context_(context), open_(open) {}

  void start(const absl::StatusOr<Caller>& caller) {
    self_ = shared_from_this();
    const auto hold = self_;
    std::lock_guard lock(mutex_);
    if (!caller.ok()) return finish(errors::to_grpc(caller.status()));
    const auto weak = weak_from_this();
    session_.emplace(
        context_, *caller,
        [weak] {
          if (const auto stream = weak.lock()) stream->advance();
        },
        [weak] {
          if (const auto stream = weak.lock())
            stream->end(grpc::Status(grpc::StatusCode::ABORTED, "another stream of this node took its place"));
        });
    if (!open_.add(hold)) return finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the controller is stopping"));
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    const auto hold = self_;
    std::lock_guard lock(mutex_);
    if (finished_) return;
    if (!ok) return finish(grpc::Status::OK);
    if (auto status = session_->receive(std::exchange(incoming_, {})); !status.ok())
      return finish(errors::to_grpc(status));
    if (finished_) return;
    StartRead(&incoming_);
    if (!finished_) advance();
  }
  void OnWriteDone(bool ok) override {
    const auto hold = self_;
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok) advance();
  }
  void OnCancel() override { end(grpc::Status::CANCELLED); }
  void OnDone() override {
    open_.remove(this);
    self_.reset();
  }

  // Sends what is due.
  void advance() {
    std::lock_guard lock(mutex_);
    if (finished_ || !session_) return;
    if (auto status = session_->overdue(); !status.ok()) return finish(errors::to_grpc(status));
    if (writing_) return;
    auto push = session_->next_push();
    if (!push) return;
    *outgoing_.mutable_push() = *std::move(push);
    writing_ = true;
    StartWrite(&outgoing_);
  }

  void end(const grpc::Status& status) {
    const auto hold = shared_from_this();
    std::lock_guard lock(mutex_);
    finish(status);
  }

 private:
  void finish(const grpc::Status& status) {
    if (finished_) return;
    finished_ = true;
    if (session_)
      session_->close(status.ok()                                          ? "the node closed the stream"
                      : status.error_code() == grpc::StatusCode::CANCELLED ? "the connection was lost"
                                                                           : status.error_message());
    Finish(status);
  }

  NodeSession::Context context_;
  OpenStreams& open_;
  std::shared_ptr<NodeStream> self_;

  std::recursive_mutex mutex_;
  std::optional<NodeSession> session_;
  v1::AgentMessage incoming_;
  v1::ControllerMessage outgoing_;
  bool writing_ = false;
  bool finished_ = false;
};

class AgentService final : public v1::AgentService::CallbackService {
 public:
  AgentService(NodeSession::Context context, const Authenticator& authenticator, OpenStreams& open)
      : context_(context), authenticator_(authenticator), open_(open) {}

  grpc::ServerBidiReactor<v1::AgentMessage, v1::ControllerMessage>* Connect(
      grpc::CallbackServerContext* context) override {
    auto stream = std::make_shared<NodeStream>(context_, open_);
    stream->start(authenticator_.authenticate(*context));
    return stream.get();
  }

 private:
  NodeSession::Context context_;
  const Authenticator& authenticator_;
  OpenStreams& open_;
};

}  // namespace

struct AgentChannel::State {
  State(NodeSession::Context context, const Authenticator& authenticator) : service(context, authenticator, open) {}

  OpenStreams open;
  AgentService service;
  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  std::thread ticker;
};

AgentChannel::AgentChannel(Fleet& fleet, DecisionLog& log, Clock& clock, const Authenticator& authenticator,
                           std::uint64_t epoch, decision::Duration ttl)
    : state_(new State(NodeSession::Context{fleet, log, clock, epoch, ttl}, authenticator)) {}

AgentChannel::~AgentChannel() { stop(); }

grpc::Service& AgentChannel::service() { return state_->service; }

void AgentChannel::start() {
  state_->ticker = std::thread([this] {
    std::unique_lock lock(state_->mutex);
    while (!state_->changed.wait_for(lock, kTick, [this] { return state_->stopping; })) {
      lock.unlock();
      for (const auto& stream : state_->open.all()) stream->advance();
      lock.lock();
    }
  });
}

void AgentChannel::stop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  if (state_->ticker.joinable()) state_->ticker.join();
  for (const auto& stream : state_->open.all(true))
    stream->end(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the controller is stopping"));
}

}  // namespace penstock::controller
