#pragma once

#include <penstock/fiber.h>
#include <penstock/stream.h>
#include <penstock/sync.h>

#include <boost/asio/system_executor.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/websocket/teardown.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <utility>

namespace chat {

// What Beast's websocket::stream asks of the stream below it, besides read_some and write_some: an executor, which only
// asynchronous operations use, and a way to end. A fiber may read messages while another one writes some: the answers
// that Beast gives to pings while it reads come between frames, not within one.
class SyncStream {
 public:
  using executor_type = boost::asio::system_executor;

  // A write may take that long.
  SyncStream(std::unique_ptr<penstock::net::Stream> stream, penstock::Duration patience)
      : stream_(std::move(stream)), patience_(patience) {
    // Silence is no error.
    stream_->set_io_timeout(penstock::Duration::zero());
  }

  executor_type get_executor() const noexcept { return {}; }

  template <class Buffers>
  std::size_t read_some(const Buffers& buffers, boost::system::error_code& ec) {
    return stream_->read_some(buffers, ec);
  }
  // All of it, even if the fiber is cancelled meanwhile. Throws DeadlineExceeded when the peer does not read.
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers, boost::system::error_code& ec) {
    const penstock::CancelShield shield;
    const penstock::DeadlineScope patience(std::chrono::steady_clock::now() + patience_);
    const std::lock_guard lock(writing_);
    return boost::asio::write(*stream_, buffers, ec);
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& buffers) {
    return stream_->read_some(buffers);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers) {
    boost::system::error_code ec;
    const std::size_t n = write_some(buffers, ec);
    if (ec) throw boost::system::system_error(ec, "write");
    return n;
  }

  // After the last frame. A server closes first.
  friend void teardown(boost::beast::role_type role, SyncStream& stream, boost::system::error_code& ec) {
    ec = {};
    if (role == boost::beast::role_type::server) stream.stream_->shutdown_send();
    stream.stream_->close();
  }

 private:
  std::unique_ptr<penstock::net::Stream> stream_;
  const penstock::Duration patience_;
  penstock::Mutex writing_;
};

}  // namespace chat
