#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "runtime/http/head_facts.h"
#include "runtime/http/message_body.h"
#include "runtime/http/parse_error.h"

namespace penstock::http {

// What the parsers of requests and of answers share. A head is taken as a whole, once it is there; a body as it comes.
class MessageParser {
 public:
  // Of the whole head, in bytes. The parser of a head that has got so far without an end gives up.
  void header_limit(std::size_t bytes) noexcept { header_limit_ = bytes; }
  // Of what comes from now on; a length that was announced is looked at with the head. Unset: none.
  void body_limit(std::optional<std::uint64_t> bytes) noexcept {
    payload_.set_limit(bytes.value_or(MessageBody::kNoLimit));
  }

  bool is_header_done() const noexcept { return header_done_; }
  bool is_done() const noexcept { return header_done_ && payload_.done(); }

  // --- of a complete head

  // Whether the connection may carry another message after this one.
  bool keep_alive() const noexcept {
    if (payload_.until_end() || ended_) return false;
    // The framing of HTTP/1.0 is not to be trusted with an encoding (RFC 9112, 6.1).
    return http11_ ? !facts_.says_close : facts_.says_keep_alive && !facts_.encoded;
  }
  std::optional<std::uint64_t> content_length() const noexcept {
    return facts_.has_length ? std::optional(facts_.length) : std::nullopt;
  }

 protected:
  ~MessageParser() = default;

  // Whether there may be a whole head: it is not looked at twice for each byte that comes. None: parse it, up to
  // end_of_head().
  ParseError look_for_head(std::string_view in) noexcept {
    if (searched_ == 0) return ParseError::none;
    const std::size_t until = end_of_head(in);
    if (searched_ < until && in.substr(searched_, until - searched_).find("\r\n\r\n") != in.npos) {
      return ParseError::none;
    }
    return incomplete_head(in);
  }
  // There was none.
  ParseError incomplete_head(std::string_view in) noexcept {
    if (in.size() >= header_limit_) return ParseError::header_limit;
    searched_ = in.size() > 3 ? in.size() - 3 : 0;
    return ParseError::need_more;
  }
  std::size_t end_of_head(std::string_view in) const noexcept {
    return in.size() < header_limit_ ? in.size() : header_limit_;
  }

  MessageBody payload_;
  HeadFacts facts_;
  bool http11_ = false;
  bool header_done_ = false;
  // The end of the connection was the end of the body.
  bool ended_ = false;

 private:
  std::size_t header_limit_ = std::numeric_limits<std::size_t>::max();
  std::size_t searched_ = 0;
};

}  // namespace penstock::http
