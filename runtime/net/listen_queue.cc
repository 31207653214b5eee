#include "runtime/net/listen_queue.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace penstock::net {
namespace {

struct All {
  std::mutex mutex;
  std::vector<const ListenQueue*> queues;
};

// Never destroyed: listeners may be closed after static destructors have begun.
All& all() {
  static auto& all = *new All;
  return all;
}

}  // namespace

ListenQueue::ListenQueue(int fd, std::string address) : fd_(fd), address_(std::move(address)) {
  const std::lock_guard lock(all().mutex);
  all().queues.push_back(this);
}

ListenQueue::~ListenQueue() {
  const std::lock_guard lock(all().mutex);
  std::erase(all().queues, this);
}

std::vector<ListenQueue::Length> listen_queues() {
  std::vector<ListenQueue::Length> lengths;
  const std::lock_guard lock(all().mutex);
  for (const ListenQueue* queue : all().queues) {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(queue->fd_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) continue;
    const auto same = [&](const ListenQueue::Length& length) { return length.address == queue->address_; };
    auto at = std::find_if(lengths.begin(), lengths.end(), same);
    if (at == lengths.end()) at = lengths.insert(at, {.address = queue->address_});
    // What these fields hold for a listening socket: sk_ack_backlog and sk_max_ack_backlog.
    at->waiting += info.tcpi_unacked;
    at->most += info.tcpi_sacked;
  }
  return lengths;
}

}  // namespace penstock::net
