#pragma once

#include <penstock/queue.h>
#include <penstock/sync.h>

#include <atomic>
#include <boost/beast/websocket/rfc6455.hpp>
#include <cstddef>
#include <memory>
#include <set>
#include <string>

namespace chat {

struct Message {
  std::shared_ptr<const std::string> content;
  bool binary = false;
};

// What is to be sent to one client, and why its connection ends. Thread-safe.
class Outbox {
 public:
  using CloseCode = boost::beast::websocket::close_code;

  // As many as a client may be behind.
  penstock::Queue<Message> messages{64};

  // The connection is closed with that code when what is in has been sent. The first call counts.
  void end(CloseCode why);
  CloseCode why() const { return why_; }

 private:
  std::atomic<CloseCode> why_{CloseCode::none};
};

// The outboxes of some connections. Thread-safe.
class Outboxes {
 public:
  // The outbox is one of them while this lives.
  class Membership {
   public:
    Membership(Outboxes& all, Outbox& outbox);
    ~Membership();
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;

   private:
    Outboxes& all_;
    Outbox& outbox_;
  };

  // To all of them, without a wait: the connection of a client that is too far behind is ended.
  void send(const Message& message);
  // Ends all that there are, and all that come.
  void end(Outbox::CloseCode why);
  std::size_t size() const;

 private:
  mutable penstock::Mutex mutex_;
  std::set<Outbox*> members_;
  Outbox::CloseCode ended_ = Outbox::CloseCode::none;
};

}  // namespace chat
