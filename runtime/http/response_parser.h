#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "penstock/http_message.h"
#include "runtime/http/message_parser.h"

namespace penstock::http {

// Beast's parser of one answer, with what it finds put where it is to stay. Its body is appended to the Response, or,
// when `streamed`, goes to the room that is given for it.
class ResponseParser final : public MessageParser<false> {
 public:
  enum class Body { whole, streamed };

  // `response` and `trailers` outlive it.
  ResponseParser(Response& response, Headers& trailers, Body body);

  // Beast's own is for what comes at a time: it has no bound for a head that comes field by field.
  void header_limit(std::uint32_t bytes) {
    head_left_ = bytes;
    MessageParser::header_limit(bytes);
  }

  // Room for the body that comes next; put() may be given bytes of this same memory. A full room ends put() with
  // error::need_buffer.
  void set_room(char* data, std::size_t size) {
    room_ = data;
    room_size_ = size;
    filled_ = 0;
  }
  std::size_t filled() const { return filled_; }

 private:
  using error_code = boost::beast::error_code;
  using string_view = boost::beast::string_view;

  void on_request_impl(boost::beast::http::verb, string_view, string_view, int, error_code&) override;
  void on_response_impl(int status, string_view reason, int version, error_code& ec) override;
  void on_field_impl(boost::beast::http::field name, string_view text, string_view value, error_code& ec) override;
  void on_header_impl(error_code& ec) override;
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, error_code& ec) override;
  std::size_t on_body_impl(string_view body, error_code& ec) override;
  void on_finish_impl(error_code& ec) override;

  Response& response_;
  Headers& trailers_;
  const Body body_;
  std::size_t head_left_ = std::numeric_limits<std::size_t>::max();
  bool header_done_ = false;
  char* room_ = nullptr;
  std::size_t room_size_ = 0;
  std::size_t filled_ = 0;
};

}  // namespace penstock::http
