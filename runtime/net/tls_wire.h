#pragma once

#include <openssl/bio.h>

#include <boost/system/error_code.hpp>
#include <cstddef>
#include <memory>

#include "penstock/stream.h"

namespace penstock::net {

// What one record of TLS holds at most.
inline constexpr std::size_t kTlsRecord = 16 * 1024;

// The way of the records, as OpenSSL sees it: tries that never wait, and waits outside of OpenSSL, which keeps errors
// per thread and knows nothing of exceptions.
class TlsWire {
 public:
  virtual ~TlsWire() = default;
  // would_block: later.
  virtual std::size_t try_read(void* data, std::size_t size, boost::system::error_code& ec) = 0;
  virtual std::size_t try_write(const void* data, std::size_t size, boost::system::error_code& ec) = 0;
  virtual void wait_readable(boost::system::error_code& ec) = 0;
  virtual void wait_writable(boost::system::error_code& ec) = 0;
  // Looks whether something has come of which it has not been told yet.
  virtual void look() {}
  // Of what try_write() took.
  virtual bool unsent() const { return false; }
  virtual bool holds_received() const { return false; }

  // Of the last try, other than would_block.
  boost::system::error_code failed;
};

// Straight to a socket; with a copy to any other stream, which can only be read and written with waits.
std::unique_ptr<TlsWire> make_wire(Stream& below);
// Outlived by the wire. Throws std::bad_alloc.
BIO* make_bio(TlsWire& wire);

}  // namespace penstock::net
