#include "runtime/http/response_parser.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "runtime/http/head_scanner.h"

namespace penstock::http {
namespace {

// What a length that was only announced may take.
constexpr std::uint64_t kReserve = 256 * 1024;

}  // namespace

Parsed ResponseParser::put(std::string_view in) {
  if (in.empty()) return {0, ParseError::need_more};
  got_some_ = true;
  if (header_done_) return put_body(in);
  Parsed parsed = put_head(in);
  if (parsed.error != ParseError::none || parsed.used == in.size()) return parsed;
  const Parsed of_body = put_body(in.substr(parsed.used));
  return {parsed.used + of_body.used, of_body.error};
}

Parsed ResponseParser::put_head(std::string_view in) {
  ParseError error = look_for_head(in);
  if (error != ParseError::none) return {0, error};
  facts_ = {};
  response_.headers.clear();

  const char* at = in.data();
  const char* const end = at + end_of_head(in);
  StatusLine line;
  error = scan_status_line(at, end, line);
  if (error == ParseError::none) {
    response_.status = line.status;
    http11_ = line.http11;
    response_.headers.reserve(8);
    error = scan_fields(at, end, [&](std::string_view name, std::string_view value, bool) {
      response_.headers.emplace_back(name, value);
      return facts_.take(kind_of_field(name), value);
    });
  }
  if (error == ParseError::need_more) return {0, incomplete_head(in)};
  if (error != ParseError::none) return {0, error};

  if (skip_body_ || line.status < 200 || line.status == 204 || line.status == 304) {
    payload_.be_sized(0);
  } else if (facts_.chunked) {
    payload_.be_chunked();
  } else if (facts_.has_length) {
    if (facts_.length > payload_.limit()) return {0, ParseError::body_limit};
    payload_.be_sized(facts_.length);
    if (body_ == Body::whole) response_.body.reserve(std::min(facts_.length, kReserve));
  } else {
    payload_.be_until_end();
  }
  header_done_ = true;
  return {static_cast<std::size_t>(at - in.data()), ParseError::none};
}

Parsed ResponseParser::put_body(std::string_view in) {
  std::size_t used = 0;
  while (!payload_.done() && used < in.size()) {
    const std::size_t room = body_ == Body::whole ? in.size() : room_size_ - filled_;
    const MessageBody::Step step = payload_.next(in.substr(used), room, trailers_);
    used += step.used;
    if (step.error != ParseError::none) return {used, step.error};
    if (body_ == Body::whole) {
      response_.body.append(step.data);
    } else if (!step.data.empty()) {
      // The room may be where these bytes were read to.
      std::memmove(room_ + filled_, step.data.data(), step.data.size());
      filled_ += step.data.size();
    }
  }
  return {used, ParseError::none};
}

ParseError ResponseParser::put_end() noexcept {
  if (!header_done_ || !(payload_.done() || payload_.until_end())) return ParseError::cut_off;
  if (payload_.until_end()) ended_ = true;
  payload_.end();
  return ParseError::none;
}

}  // namespace penstock::http
