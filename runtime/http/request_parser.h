#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "penstock/http.h"
#include "runtime/http/message_parser.h"
#include "runtime/http/request_head.h"

namespace penstock::http {

// Why a request is not served; the connection is of no further use.
struct Refusal {
  int status;
  std::string why;
};

// Of one request. What it finds in the head goes to the thread's draft, of which head() makes what the request keeps:
// between put_head() and head() the fiber must not wait.
class RequestParser final : public MessageParser {
 public:
  explicit RequestParser(std::size_t max_header_bytes) { header_limit(max_header_bytes); }

  // Uses the whole of a head, or nothing.
  Parsed put_head(std::string_view in);
  // A piece of the body, or its end, as far as it has come: what is appended, or else found in piece().
  Parsed put_body(std::string_view in);

  // Of a complete header.
  RequestHead head() const;
  // What is wrong with it though each line is sound; null: nothing.
  const char* check_framing(int& status) const;
  bool expects_continue() const noexcept { return expects_continue_; }
  int http_version() const noexcept { return http11_ ? 11 : 10; }

  // Bodies: all that comes is appended there, as long as it is set; else each put_body() leaves one piece in piece().
  void append_to(std::string* body) noexcept { body_ = body; }
  std::string_view piece() const noexcept { return piece_; }
  void forget_piece() noexcept { piece_ = {}; }
  const Headers& trailers() const noexcept { return trailers_; }

  // What an error means to the client.
  Refusal refusal(ParseError error) const;

 private:
  ParseError take_field(std::string_view name, std::string_view value);

  std::string* body_ = nullptr;
  std::string_view piece_;
  Headers trailers_;
  std::uint8_t hosts_ = 0;
  std::uint8_t encodings_ = 0;
  bool sound_host_ = true;
  bool started_ = false;
  bool plainly_chunked_ = false;
  bool expects_ = false;
  bool expects_continue_ = false;
};

}  // namespace penstock::http
