#include "runtime/http/response_parser.h"

#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <cstring>
#include <string_view>

namespace penstock::http {
namespace {

// What a length that was only announced may take.
constexpr std::size_t kReserve = 256 * 1024;

}  // namespace

ResponseParser::ResponseParser(Response& response, Headers& trailers, Body body)
    : response_(response), trailers_(trailers), body_(body) {
  eager(true);
}

void ResponseParser::on_request_impl(boost::beast::http::verb, string_view, string_view, int, error_code&) {}

void ResponseParser::on_response_impl(int status, string_view, int, error_code&) {
  response_.status = status;
  response_.headers.reserve(8);
}

void ResponseParser::on_field_impl(boost::beast::http::field, string_view text, string_view value, error_code& ec) {
  if (!header_done_) {
    const std::size_t line = text.size() + value.size() + std::string_view(": \r\n").size();
    if (line > head_left_) {
      ec = boost::beast::http::error::header_limit;
      return;
    }
    head_left_ -= line;
  }
  (header_done_ ? trailers_ : response_.headers)
      .emplace_back(std::string(text.data(), text.size()), std::string(value.data(), value.size()));
}

void ResponseParser::on_header_impl(error_code&) { header_done_ = true; }

void ResponseParser::on_body_init_impl(const boost::optional<std::uint64_t>& length, error_code&) {
  if (body_ == Body::whole && length) response_.body.reserve(std::min<std::uint64_t>(*length, kReserve));
}

std::size_t ResponseParser::on_body_impl(string_view body, error_code& ec) {
  if (body_ == Body::whole) {
    response_.body.append(body.data(), body.size());
    return body.size();
  }
  const std::size_t n = std::min(body.size(), room_size_ - filled_);
  // The room may be where these bytes were read to.
  if (n > 0) std::memmove(room_ + filled_, body.data(), n);
  filled_ += n;
  if (n < body.size()) ec = boost::beast::http::error::need_buffer;
  return n;
}

void ResponseParser::on_finish_impl(error_code&) {}

}  // namespace penstock::http
