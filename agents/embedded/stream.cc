#include "agents/embedded/stream.h"

#include <utility>

namespace penstock::agent {

// The hold taken in open() keeps gRPC from ending the stream while the owner's thread may still start a write; it is
// given back when reading fails, which is when the stream is over, and from then on nothing is written.
class Stream::Reactor : public grpc::ClientBidiReactor<v1::AgentMessage, v1::ControllerMessage> {
 public:
  explicit Reactor(Stream& stream) : stream_(stream) {}

  void open() {
    stream_.stub_->async()->Connect(&stream_.context_, this);
    AddHold();
    StartRead(&incoming_);
    {
      std::lock_guard lock(stream_.mutex_);
      write_next();
    }
    StartCall();
  }

  // Under the stream's mutex.
  void write_next() {
    if (stream_.writing_ || reading_ended_ || stream_.outbox_.empty()) return;
    stream_.writing_ = true;
    outgoing_ = std::move(stream_.outbox_.front());
    stream_.outbox_.pop_front();
    StartWrite(&outgoing_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        std::lock_guard lock(stream_.mutex_);
        reading_ended_ = true;
      }
      RemoveHold();
      return;
    }
    {
      std::lock_guard lock(stream_.mutex_);
      stream_.inbox_.push_back(std::move(incoming_));
    }
    stream_.changed_.notify_all();
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(stream_.mutex_);
    stream_.writing_ = false;
    if (ok) write_next();
  }

  void OnDone(const grpc::Status& status) override {
    std::lock_guard lock(stream_.mutex_);
    stream_.status_ = status;
    stream_.changed_.notify_all();
  }

 private:
  Stream& stream_;
  bool reading_ended_ = false;
  v1::ControllerMessage incoming_;
  v1::AgentMessage outgoing_;
};

Stream::Stream(std::shared_ptr<grpc::Channel> channel, const v1::AgentMessage& hello)
    : channel_(std::move(channel)), stub_(v1::AgentService::NewStub(channel_)) {
  outbox_.push_back(hello);
  reactor_ = std::make_unique<Reactor>(*this);
  reactor_->open();
}

Stream::~Stream() {
  context_.TryCancel();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return status_.has_value(); });
}

void Stream::send(v1::AgentMessage message) {
  std::lock_guard lock(mutex_);
  outbox_.push_back(std::move(message));
  reactor_->write_next();
}

std::size_t Stream::backlog() const {
  std::lock_guard lock(mutex_);
  return outbox_.size() + (writing_ ? 1 : 0);
}

std::optional<v1::ControllerMessage> Stream::receive(decision::Instant deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return !inbox_.empty() || status_.has_value() || woken_; });
  woken_ = false;
  if (inbox_.empty()) return std::nullopt;
  auto message = std::move(inbox_.front());
  inbox_.pop_front();
  return message;
}

void Stream::wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

std::optional<grpc::Status> Stream::ended() const {
  std::lock_guard lock(mutex_);
  if (!inbox_.empty()) return std::nullopt;
  return status_;
}

}  // namespace penstock::agent
