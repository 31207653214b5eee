#include "runtime/http/message_body.h"

#include <algorithm>

#include "runtime/http/head_facts.h"
#include "runtime/http/head_scanner.h"

namespace penstock::http {
namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

const char* skip_blanks(const char* p, const char* end) noexcept {
  while (p != end && is_blank(*p)) ++p;
  return p;
}

// RFC 9112, 7.1.1. Nobody asks for them.
bool are_extensions(const char* p, const char* end) noexcept {
  while (p != end) {
    p = skip_blanks(p, end);
    if (p == end || *p != ';') return false;
    p = skip_blanks(p + 1, end);
    const char* name = p;
    p = skip<kTokenByte>(p, end);
    if (p == name) return false;
    const char* value = skip_blanks(p, end);
    if (value == end) return value == p;
    if (*value != '=') continue;
    p = skip_blanks(value + 1, end);
    if (p == end) return false;
    if (*p != '"') {
      value = p;
      p = skip<kTokenByte>(p, end);
      if (p == value) return false;
      continue;
    }
    for (++p; p != end && *p != '"'; ++p) {
      if (*p == '\\' && ++p == end) return false;
      if (!is_kind(*p, kTextByte)) return false;
    }
    if (p == end) return false;
    ++p;
  }
  return true;
}

}  // namespace

MessageBody::Step MessageBody::next(std::string_view in, std::size_t room, Headers& trailers) {
  if (state_ == State::sized) return data(in, room);
  std::size_t used = 0;
  while (state_ != State::done) {
    if (state_ == State::chunk || state_ == State::until_end) {
      Step step = data(in.substr(used), room);
      step.used += used;
      return step;
    }
    const std::string_view rest = in.substr(used);
    std::size_t of_line = 0;
    ParseError error;
    if (state_ == State::size_of_chunk) {
      error = take_size(rest, of_line);
    } else if (state_ == State::end_of_chunk) {
      error = take_end_of_chunk(rest, of_line);
    } else {
      error = take_trailers(rest, of_line, trailers);
    }
    if (error != ParseError::none) return {used, {}, error};
    used += of_line;
  }
  return {used, {}, ParseError::none};
}

MessageBody::Step MessageBody::data(std::string_view in, std::size_t room) noexcept {
  if (in.empty()) return {0, {}, ParseError::need_more};
  if (room == 0) return {0, {}, ParseError::need_room};
  std::size_t n = std::min(in.size(), room);
  if (state_ == State::until_end) {
    if (n > limit_) return {0, {}, ParseError::body_limit};
    if (limit_ != kNoLimit) limit_ -= n;
  } else {
    n = static_cast<std::size_t>(std::min<std::uint64_t>(n, left_));
    left_ -= n;
    if (left_ == 0) state_ = state_ == State::chunk ? State::end_of_chunk : State::done;
  }
  return {n, in.substr(0, n), ParseError::none};
}

ParseError MessageBody::take_size(std::string_view in, std::size_t& used) noexcept {
  const char* p = in.data();
  const char* const end = p + in.size();
  std::uint64_t size = 0;
  for (int digit; p != end && (digit = hex_digit(*p)) >= 0; ++p) {
    if (size >> 60 != 0) return ParseError::chunk;
    size = size * 16 + static_cast<std::uint64_t>(digit);
  }
  if (p == end) return ParseError::need_more;
  if (p == in.data()) return ParseError::chunk;
  const char* const extensions = p;
  p = skip_text(p, end);
  if (p == end) return ParseError::need_more;
  if (*p != '\r') return ParseError::chunk_extension;
  if (!are_extensions(extensions, p)) return ParseError::chunk_extension;
  if (end - p < 2) return ParseError::need_more;
  if (p[1] != '\n') return ParseError::line_end;
  if (size == 0) {
    state_ = State::trailers;
  } else {
    if (size > limit_) return ParseError::body_limit;
    if (limit_ != kNoLimit) limit_ -= size;
    left_ = size;
    state_ = State::chunk;
  }
  used = static_cast<std::size_t>(p + 2 - in.data());
  return ParseError::none;
}

ParseError MessageBody::take_end_of_chunk(std::string_view in, std::size_t& used) noexcept {
  if (in.empty()) return ParseError::need_more;
  if (in[0] != '\r') return ParseError::chunk;
  if (in.size() < 2) return ParseError::need_more;
  if (in[1] != '\n') return ParseError::chunk;
  state_ = State::size_of_chunk;
  used = 2;
  return ParseError::none;
}

ParseError MessageBody::take_trailers(std::string_view in, std::size_t& used, Headers& trailers) {
  trailers.clear();
  const char* p = in.data();
  const ParseError error =
      scan_fields(p, in.data() + in.size(), [&](std::string_view name, std::string_view value, bool) {
        const FieldKind kind = kind_of_field(name);
        if (kind == FieldKind::content_length || kind == FieldKind::transfer_encoding) return ParseError::trailer;
        trailers.emplace_back(name, value);
        return ParseError::none;
      });
  if (error != ParseError::none) return error;
  state_ = State::done;
  used = static_cast<std::size_t>(p - in.data());
  return ParseError::none;
}

}  // namespace penstock::http
