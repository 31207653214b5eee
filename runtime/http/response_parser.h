#pragma once

#include <cstddef>
#include <string_view>

#include "penstock/http_message.h"
#include "runtime/http/message_parser.h"

namespace penstock::http {

// Of one answer, with what it finds put where it is to stay. Its body is appended to the Response, or, when `streamed`,
// goes to the room that is given for it.
class ResponseParser final : public MessageParser {
 public:
  enum class Body { whole, streamed };

  // `response` and `trailers` outlive it.
  ResponseParser(Response& response, Headers& trailers, Body body)
      : response_(response), trailers_(trailers), body_(body) {}

  // Whatever the head says, nothing follows it, as after an answer to HEAD. To be called first.
  void skip_body() noexcept { skip_body_ = true; }

  // Takes what it can; is_done() says whether that was all.
  Parsed put(std::string_view in);
  // The connection has ended; cut_off: too early.
  ParseError put_end() noexcept;
  bool got_some() const noexcept { return got_some_; }

  // Room for the body that comes next; put() may be given bytes of this same memory. A full room ends put() with
  // need_room.
  void set_room(char* data, std::size_t size) noexcept {
    room_ = data;
    room_size_ = size;
    filled_ = 0;
  }
  std::size_t filled() const noexcept { return filled_; }

 private:
  Parsed put_head(std::string_view in);
  Parsed put_body(std::string_view in);

  Response& response_;
  Headers& trailers_;
  const Body body_;
  bool skip_body_ = false;
  bool got_some_ = false;
  char* room_ = nullptr;
  std::size_t room_size_ = 0;
  std::size_t filled_ = 0;
};

}  // namespace penstock::http
