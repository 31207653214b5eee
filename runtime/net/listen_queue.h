#pragma once

#include <string>
#include <vector>

namespace penstock::net {

// A listening socket, as long as it is open: known to listen_queues().
class ListenQueue {
 public:
  ListenQueue(int fd, std::string address);
  ~ListenQueue();
  ListenQueue(const ListenQueue&) = delete;
  ListenQueue& operator=(const ListenQueue&) = delete;

  // Connections that the kernel has made and nobody has accepted, over all sockets of one address.
  struct Length {
    std::string address;
    unsigned waiting = 0;
    // Beyond it the kernel makes none.
    unsigned most = 0;
  };

 private:
  friend std::vector<Length> listen_queues();
  const int fd_;
  const std::string address_;
};

// Of this process, as the kernel says now; TCP only, which is what it tells of. Thread-safe.
std::vector<ListenQueue::Length> listen_queues();

}  // namespace penstock::net
