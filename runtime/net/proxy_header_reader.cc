#include "runtime/net/proxy_header_reader.h"

#include <array>
#include <boost/asio/error.hpp>
#include <chrono>
#include <string>

namespace penstock::net {

ProxyHeader read_proxy_header(Socket& socket, Duration at_most, error_code& ec) {
  const Instant until = std::chrono::steady_clock::now() + at_most;
  std::string bytes;
  for (;;) {
    std::array<char, kMostProxyHeader> ahead;
    std::size_t n = socket.try_peek(ahead.data(), ahead.size(), ec);
    if (ec == boost::asio::error::would_block) {
      const Duration left = until - std::chrono::steady_clock::now();
      if (left <= Duration::zero()) {
        ec = boost::asio::error::timed_out;
        return {};
      }
      socket.set_io_timeout(left);
      socket.wait_readable(ec);
      if (ec) return {};
      continue;
    }
    if (ec) return {};
    const std::size_t before = bytes.size();
    bytes.append(ahead.data(), n);
    const ProxyHeader header = parse_proxy_header(bytes);
    if (header.result == ProxyHeader::Result::refused) {
      ec = make_error_code(boost::system::errc::protocol_error);
      return header;
    }
    if (header.result == ProxyHeader::Result::complete) n = header.size - before;
    if (socket.try_read(ahead.data(), n, ec) != n && !ec) ec = make_error_code(boost::system::errc::io_error);
    if (ec || header.result == ProxyHeader::Result::complete) return header;
  }
}

}  // namespace penstock::net
