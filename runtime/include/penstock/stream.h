#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <cstddef>

#include "penstock/error.h"

namespace penstock::net {

// A connected stream of bytes whose waits suspend the calling fiber. Meets the SyncReadStream and SyncWriteStream
// requirements of Asio and Beast, so that any library of synchronous templates over a stream, such as Beast's
// WebSocket, works on it.
//
// Belongs to the thread that made it. One fiber may read while another one writes. Every operation waits at most until
// min(io timeout, the fiber's deadline). The io timeout gives boost::asio::error::timed_out; the fiber's deadline and
// cancellation throw DeadlineExceeded and Cancelled. What waits when another fiber closes the stream gets
// boost::asio::error::operation_aborted.
class Stream {
 public:
  virtual ~Stream() = default;

  // At least one byte, or an error; boost::asio::error::eof at the end of the stream.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers, boost::system::error_code& ec) {
    const Parts parts(buffers);
    return read_parts(parts.list.data(), parts.count, ec);
  }
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers, boost::system::error_code& ec) {
    const Parts parts(buffers);
    return write_parts(parts.list.data(), parts.count, ec);
  }
  // As above; errors are thrown as boost::system::system_error.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers) {
    boost::system::error_code ec;
    const std::size_t n = read_some(buffers, ec);
    if (ec) throw boost::system::system_error(ec, "read");
    return n;
  }
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers) {
    boost::system::error_code ec;
    const std::size_t n = write_some(buffers, ec);
    if (ec) throw boost::system::system_error(ec, "write");
    return n;
  }

  virtual std::size_t read_parts(const iovec* parts, int count, boost::system::error_code& ec) = 0;
  virtual std::size_t write_parts(const iovec* parts, int count, boost::system::error_code& ec) = 0;

  // For each single operation from now on; zero: none.
  virtual void set_io_timeout(Duration d) = 0;
  virtual bool is_open() const = 0;
  // Says that nothing more will be written; what the peer sends can still be read.
  virtual void shutdown_send() = 0;
  virtual void close() = 0;

 protected:
  Stream() = default;
  Stream(const Stream&) = default;
  Stream& operator=(const Stream&) = default;

 private:
  // The first 16 non-empty parts of a buffer sequence: a call for some bytes need not take them all.
  struct Parts {
    template <class Buffers>
    explicit Parts(const Buffers& buffers) {
      const auto end = boost::asio::buffer_sequence_end(buffers);
      for (auto it = boost::asio::buffer_sequence_begin(buffers); it != end && count < 16; ++it) {
        // A const buffer is only ever read from.
        const boost::asio::const_buffer part(*it);
        if (part.size() != 0) list[count++] = {const_cast<void*>(part.data()), part.size()};
      }
    }
    std::array<iovec, 16> list;
    int count = 0;
  };
};

}  // namespace penstock::net
