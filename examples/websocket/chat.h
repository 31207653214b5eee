#pragma once

#include <penstock/http_server.h>
#include <penstock/runtime.h>

#include <chrono>
#include <memory>
#include <string>

#include "examples/websocket/outbox.h"

namespace chat {

struct Options {
  // Of a message: over, the connection is closed with code 1009.
  std::size_t max_message_bytes = 64 * 1024;
  // A client that says nothing is asked so often whether it is there, and left when it has not answered by the next
  // time.
  std::chrono::milliseconds ping_every{30'000};
  // For a client to take what it is sent: over, its connection is closed.
  std::chrono::milliseconds write_timeout{10'000};
  // A browser tells whose page opened the connection: pages of other hosts than the service's own are refused, unless
  // this is set.
  bool any_origin = false;
};

// WebSockets at /echo, which sends back what it gets, and at /room/{name}, where each gets what any of the room says.
class Chat {
 public:
  // Outlives the runtime's run(). Its connections are closed with code 1001 when the drain begins.
  Chat(penstock::Runtime& runtime, penstock::http::Server& server, Options options = {});

  std::size_t connections() const { return all_->size(); }

 private:
  std::shared_ptr<Outboxes> all_;
};

}  // namespace chat
