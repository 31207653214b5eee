#include "runtime/http/request_parser.h"

#include <algorithm>

#include "runtime/http/message.h"

namespace penstock::http {
namespace {

namespace beast_http = boost::beast::http;

std::string_view view(boost::beast::string_view s) noexcept { return {s.data(), s.size()}; }

RequestHead::Draft& draft() {
  static thread_local RequestHead::Draft draft;
  return draft;
}

}  // namespace

RequestParser::RequestParser(std::size_t max_header_bytes, std::uint64_t max_body_bytes) {
  header_limit(static_cast<std::uint32_t>(max_header_bytes));
  if (max_body_bytes == 0) {
    body_limit(boost::none);
  } else {
    body_limit(max_body_bytes);
  }
}

RequestHead RequestParser::head() const { return RequestHead(draft()); }

void RequestParser::on_request_impl(beast_http::verb, text method, text target, int version, error_code&) {
  started_ = true;
  version_ = version;
  draft().begin(view(method), view(target));
}

void RequestParser::on_field_impl(field id, text name, text value, error_code&) {
  if (header_done_) {
    trailers_.emplace_back(view(name), view(value));
    return;
  }
  switch (id) {
    case field::host:
      hosts_ = static_cast<std::uint8_t>(std::min(hosts_ + 1, 2));
      break;
    case field::transfer_encoding:
      encodings_ = static_cast<std::uint8_t>(std::min(encodings_ + 1, 2));
      plainly_chunked_ = same_token(view(value), "chunked");
      break;
    case field::content_length:
      length_ = true;
      break;
    case field::expect:
      expects_ = true;
      expects_continue_ = version_ == 11 && same_token(view(value), "100-continue");
      break;
    default:
      break;
  }
  draft().add(view(name), view(value));
}

const char* RequestParser::check_framing(int& status) const {
  status = 400;
  // Beast's parser has refused all but 1.0 and 1.1.
  const bool http11 = version_ == 11;
  if (hosts_ > 1) return "more than one Host";
  if (http11 && hosts_ == 0) return "no Host";
  if (encodings_ != 0) {
    if (length_) return "both Content-Length and Transfer-Encoding";
    if (!http11) return "Transfer-Encoding in HTTP/1.0";
    status = 501;
    if (!plainly_chunked_ || encodings_ > 1) return "a Transfer-Encoding other than chunked";
  }
  status = 417;
  if (http11 && expects_ && !expects_continue_) return "an unknown Expect";
  return nullptr;
}

std::size_t RequestParser::on_body_impl(text body, error_code&) {
  if (body_ != nullptr) {
    body_->append(body.data(), body.size());
  } else {
    piece_ = view(body);
  }
  return body.size();
}

Refusal RequestParser::refusal(const boost::system::error_code& ec) const {
  if (ec == beast_http::error::header_limit) {
    return started_ ? Refusal{431, "the header is too large"} : Refusal{414, "the target is too long"};
  }
  if (ec == beast_http::error::body_limit) return {413, "the body is too large"};
  return {400, ec.message()};
}

}  // namespace penstock::http
