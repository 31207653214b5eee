#include <memory>
#include <string>
#include <utility>

#include "runtime/http/connection.h"

namespace penstock::http {
namespace {

using boost::system::error_code;

// What is handed over by an upgrade.
class HandedOver final : public net::Stream {
 public:
  // `owner` holds the stream.
  HandedOver(std::shared_ptr<void> owner, net::Stream& stream, std::string ahead, ServerState::Place place)
      : owner_(std::move(owner)), stream_(stream), ahead_(std::move(ahead)), place_(std::move(place)) {}

  std::size_t read_parts(const iovec* parts, int count, error_code& ec) override {
    if (at_ == ahead_.size()) return stream_.read_parts(parts, count, ec);
    ec = {};
    std::size_t read = 0;
    for (int i = 0; i < count && at_ < ahead_.size(); ++i) {
      const std::size_t n = ahead_.copy(static_cast<char*>(parts[i].iov_base), parts[i].iov_len, at_);
      at_ += n;
      read += n;
    }
    return read;
  }
  std::size_t write_parts(const iovec* parts, int count, error_code& ec) override {
    return stream_.write_parts(parts, count, ec);
  }
  void set_io_timeout(Duration d) override { stream_.set_io_timeout(d); }
  bool is_open() const override { return stream_.is_open(); }
  void shutdown_send() override { stream_.shutdown_send(); }
  void close() override { stream_.close(); }

 private:
  const std::shared_ptr<void> owner_;
  net::Stream& stream_;
  const std::string ahead_;
  std::size_t at_ = 0;
  const ServerState::Place place_;
};

}  // namespace

std::unique_ptr<net::Stream> Connection::hand_over() {
  keep_input();
  socket().observe(nullptr);
  watching_ = nullptr;
  input_ = {};
  std::string ahead = std::exchange(own_, {});
  if (secure_) {
    const std::shared_ptr<Secure> owner = std::move(secure_);
    return std::make_unique<HandedOver>(owner, owner->tls, std::move(ahead), std::move(place_));
  }
  const auto owner = std::make_shared<net::Socket>(std::move(socket_));
  return std::make_unique<HandedOver>(owner, *owner, std::move(ahead), std::move(place_));
}

}  // namespace penstock::http
