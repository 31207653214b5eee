#include "runtime/http/request_reader.h"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/beast/http/error.hpp>

#include "runtime/fiber/fiber_state.h"
#include "runtime/http/message.h"

namespace penstock::http {
namespace {

namespace beast_http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kHeaderRead = 4 * 1024;
constexpr std::size_t kBodyRead = 16 * 1024;

std::string_view view(boost::beast::string_view s) { return {s.data(), s.size()}; }

}  // namespace

bool RequestReader::fill(std::size_t bytes, Duration timeout, error_code& ec) {
  socket_.set_io_timeout(timeout);
  const std::size_t got = socket_.read_some(buffer_.prepare(bytes), ec);
  buffer_.commit(got);
  if (!ec) arrived_ = fiber::cached_now();
  return !ec;
}

RequestReader::First RequestReader::wait_first_byte(Duration timeout) {
  parser_.reset();
  if (buffer_.size() != 0) return First::byte;
  // What a large body took is not kept over idle times.
  if (buffer_.capacity() > kBodyRead) buffer_.shrink_to_fit();
  error_code ec;
  if (fill(kHeaderRead, timeout, ec)) return First::byte;
  return ec == boost::asio::error::timed_out ? First::timeout : First::closed;
}

RequestReader::Result RequestReader::read() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(options_.max_header_bytes));
  parser_->body_limit(options_.max_body_bytes);
  if (const auto ended = read_header()) return *ended;
  if (const auto ended = check_header()) return *ended;
  if (const auto ended = read_body()) return *ended;
  return Result::request;
}

std::optional<RequestReader::Result> RequestReader::read_header() {
  const Instant until = fiber::cached_now() + options_.header_timeout;
  error_code ec;
  while (true) {
    buffer_.consume(parser_->put(buffer_.data(), ec));
    if (parser_->is_header_done() && !ec) return std::nullopt;
    if (ec && ec != beast_http::error::need_more) return refuse(ec);
    const Duration left = until - std::chrono::steady_clock::now();
    if (left <= Duration::zero() || !fill(kHeaderRead, left, ec)) {
      if (left > Duration::zero() && ec != boost::asio::error::timed_out) return Result::closed;
      return refuse(408, "the header took too long");
    }
  }
}

std::optional<RequestReader::Result> RequestReader::check_header() {
  const Message& message = parser_->get();
  // Beast's parser has refused all but 1.0 and 1.1.
  const bool http11 = message.version() == 11;
  if (message.count(beast_http::field::host) > 1) return refuse(400, "more than one Host");
  if (http11 && message.count(beast_http::field::host) == 0) return refuse(400, "no Host");

  const auto encoding = message.find(beast_http::field::transfer_encoding);
  if (encoding != message.end()) {
    if (message.count(beast_http::field::content_length) != 0) {
      return refuse(400, "both Content-Length and Transfer-Encoding");
    }
    if (!http11) return refuse(400, "Transfer-Encoding in HTTP/1.0");
    if (!same_token(view(encoding->value()), "chunked") || message.count(beast_http::field::transfer_encoding) > 1) {
      return refuse(501, "a Transfer-Encoding other than chunked");
    }
  }
  if (const auto expect = message.find(beast_http::field::expect); expect != message.end() && http11) {
    if (!same_token(view(expect->value()), "100-continue")) return refuse(417, "an unknown Expect");
    if (!parser_->is_done() && buffer_.size() == 0) {
      error_code ec;
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      std::string_view rest = kContinue;
      socket_.set_io_timeout(options_.io_timeout);
      while (!rest.empty()) {
        rest.remove_prefix(socket_.write_some(boost::asio::const_buffer(rest.data(), rest.size()), ec));
        if (ec) return Result::closed;
      }
    }
  }
  return std::nullopt;
}

std::optional<RequestReader::Result> RequestReader::read_body() {
  parser_->eager(true);
  error_code ec;
  while (!parser_->is_done()) {
    if (buffer_.size() != 0) {
      buffer_.consume(parser_->put(buffer_.data(), ec));
      if (parser_->is_done() && !ec) break;
      if (ec && ec != beast_http::error::need_more) return refuse(ec);
      // The head of a chunk is as bounded as a header is.
      if (ec && buffer_.size() > options_.max_header_bytes) return refuse(400, "a chunk's extensions are too long");
    }
    if (!fill(kBodyRead, options_.io_timeout, ec)) {
      if (ec != boost::asio::error::timed_out) return Result::closed;
      return refuse(408, "the body took too long");
    }
  }
  return std::nullopt;
}

RequestReader::Result RequestReader::refuse(int status, std::string why) {
  refusal_ = {status, std::move(why)};
  return Result::refused;
}

RequestReader::Result RequestReader::refuse(const error_code& ec) {
  if (ec == beast_http::error::header_limit) return refuse(431, "the header is too large");
  if (ec == beast_http::error::body_limit) return refuse(413, "the body is too large");
  return refuse(400, ec.message());
}

}  // namespace penstock::http
