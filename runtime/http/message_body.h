#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "penstock/http_message.h"
#include "runtime/http/parse_error.h"

namespace penstock::http {

// Where the body of one message ends, while it comes in pieces of any size.
class MessageBody {
 public:
  static constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

  // One of these, once the head is known. Without: there is none.
  void be_sized(std::uint64_t length) noexcept {
    left_ = length;
    state_ = length != 0 ? State::sized : State::done;
  }
  void be_chunked() noexcept { state_ = State::size_of_chunk; }
  void be_until_end() noexcept { state_ = State::until_end; }

  // Of what comes from now on, where it was not announced.
  void set_limit(std::uint64_t bytes) noexcept { limit_ = bytes; }
  std::uint64_t limit() const noexcept { return limit_; }

  struct Step {
    std::size_t used = 0;
    // Of the body; a part of what was used.
    std::string_view data;
    ParseError error = ParseError::none;
  };
  // Takes from `in` up to the end of one piece of the body, of at most `room` bytes, or up to the body's end.
  Step next(std::string_view in, std::size_t room, Headers& trailers);

  bool done() const noexcept { return state_ == State::done; }
  bool until_end() const noexcept { return state_ == State::until_end; }
  // Nothing comes any more.
  void end() noexcept { state_ = State::done; }

 private:
  enum class State : std::uint8_t { done, sized, until_end, size_of_chunk, chunk, end_of_chunk, trailers };

  Step data(std::string_view in, std::size_t room) noexcept;
  // A line of its own each.
  ParseError take_size(std::string_view in, std::size_t& used) noexcept;
  ParseError take_end_of_chunk(std::string_view in, std::size_t& used) noexcept;
  ParseError take_trailers(std::string_view in, std::size_t& used, Headers& trailers);

  // Of the body, or of the present chunk.
  std::uint64_t left_ = 0;
  std::uint64_t limit_ = kNoLimit;
  State state_ = State::done;
};

}  // namespace penstock::http
