#include "runtime/net/tls_wire.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "runtime/net/socket.h"

namespace penstock::net {
namespace {

using boost::system::error_code;

class SocketWire final : public TlsWire {
 public:
  explicit SocketWire(Socket& socket) : socket_(socket) {}
  std::size_t try_read(void* data, std::size_t size, error_code& ec) override {
    const iovec part{data, size};
    return socket_.try_read_parts(&part, 1, ec);
  }
  std::size_t try_write(const void* data, std::size_t size, error_code& ec) override {
    const iovec part{const_cast<void*>(data), size};
    return socket_.try_write_parts(&part, 1, ec);
  }
  void look() override { socket_.stale(); }
  void wait_readable(error_code& ec) override { socket_.wait_readable(ec); }
  void wait_writable(error_code& ec) override { socket_.wait_writable(ec); }

 private:
  Socket& socket_;
};

class StreamWire final : public TlsWire {
 public:
  explicit StreamWire(Stream& stream) : stream_(stream) {}
  std::size_t try_read(void* data, std::size_t size, error_code& ec) override {
    if (in_.empty()) {
      ec = in_error_ ? in_error_ : boost::asio::error::would_block;
      return 0;
    }
    const std::size_t n = std::min(size, in_.size());
    std::memcpy(data, in_.data(), n);
    in_.erase(0, n);
    if (in_.empty()) in_.shrink_to_fit();
    return n;
  }
  std::size_t try_write(const void* data, std::size_t size, error_code& ec) override {
    if (out_error_) {
      ec = out_error_;
      return 0;
    }
    if (out_.size() > kTlsRecord) {
      ec = boost::asio::error::would_block;
      return 0;
    }
    out_.append(static_cast<const char*>(data), size);
    return size;
  }
  void wait_readable(error_code& ec) override {
    std::string block(kTlsRecord, '\0');
    block.resize(stream_.read_some(boost::asio::buffer(block), ec));
    in_ += block;
    if (!ec || ec == boost::asio::error::timed_out) return;
    // OpenSSL finds it, behind what has come before.
    in_error_ = std::exchange(ec, {});
  }
  void wait_writable(error_code& ec) override {
    while (!out_.empty() && !ec) {
      const std::string going = out_.substr(0, kTlsRecord);
      out_.erase(0, stream_.write_some(boost::asio::buffer(going), ec));
    }
    if (ec && ec != boost::asio::error::timed_out) out_error_ = ec;
    if (out_.empty()) out_.shrink_to_fit();
  }
  bool unsent() const override { return !out_.empty() && !out_error_; }
  bool holds_received() const override { return !in_.empty(); }

 private:
  Stream& stream_;
  std::string in_, out_;
  error_code in_error_, out_error_;
};

TlsWire& wire_of(BIO* bio) { return *static_cast<TlsWire*>(BIO_get_data(bio)); }

int done(BIO* bio, std::size_t n, const error_code& ec, int retry) {
  BIO_clear_retry_flags(bio);
  if (!ec) return static_cast<int>(n);
  if (ec == boost::asio::error::would_block) {
    BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return -1;
  }
  wire_of(bio).failed = ec;
  return ec == boost::asio::error::eof ? 0 : -1;
}

int read(BIO* bio, char* data, int size) {
  error_code ec;
  const std::size_t n = wire_of(bio).try_read(data, static_cast<std::size_t>(size), ec);
  return done(bio, n, ec, BIO_FLAGS_READ);
}

int write(BIO* bio, const char* data, int size) {
  error_code ec;
  const std::size_t n = wire_of(bio).try_write(data, static_cast<std::size_t>(size), ec);
  return done(bio, n, ec, BIO_FLAGS_WRITE);
}

long control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return wire_of(bio).failed == boost::asio::error::eof;
  return 0;
}

}  // namespace

std::unique_ptr<TlsWire> make_wire(Stream& below) {
  if (auto* socket = dynamic_cast<Socket*>(&below)) return std::make_unique<SocketWire>(*socket);
  return std::make_unique<StreamWire>(below);
}

BIO* make_bio(TlsWire& wire) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "penstock stream");
    if (made == nullptr) throw std::bad_alloc();
    BIO_meth_set_read(made, &read);
    BIO_meth_set_write(made, &write);
    BIO_meth_set_ctrl(made, &control);
    return made;
  }();
  BIO* bio = BIO_new(method);
  if (bio == nullptr) throw std::bad_alloc();
  BIO_set_data(bio, &wire);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace penstock::net
