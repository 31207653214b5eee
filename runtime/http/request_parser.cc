#include "runtime/http/request_parser.h"

#include <algorithm>

#include "runtime/http/head_scanner.h"
#include "runtime/http/message.h"

namespace penstock::http {
namespace {

RequestHead::Draft& draft() {
  static thread_local RequestHead::Draft draft;
  return draft;
}

}  // namespace

RequestHead RequestParser::head() const { return RequestHead(draft()); }

Parsed RequestParser::put_head(std::string_view in) {
  ParseError error = look_for_head(in);
  if (error != ParseError::none) return {0, error};
  facts_ = {};
  hosts_ = encodings_ = 0;
  sound_host_ = true;
  started_ = plainly_chunked_ = expects_ = expects_continue_ = false;

  const char* at = in.data();
  const char* const end = at + end_of_head(in);
  RequestLine line;
  error = scan_request_line(at, end, line);
  if (error == ParseError::none) {
    started_ = true;
    http11_ = line.http11;
    RequestHead::Draft& found = draft();
    found.begin(in.data(), line.method, line.target);
    error = scan_fields(at, end, [&](std::string_view name, std::string_view value, bool folded) {
      found.add(name, value, folded);
      return take_field(name, value);
    });
    if (error == ParseError::none) found.end(at);
  }
  if (error == ParseError::need_more) return {0, incomplete_head(in)};
  if (error != ParseError::none) return {0, error};

  if (facts_.chunked) {
    payload_.be_chunked();
  } else {
    payload_.be_sized(facts_.length);
  }
  header_done_ = true;
  return {static_cast<std::size_t>(at - in.data()), ParseError::none};
}

ParseError RequestParser::take_field(std::string_view name, std::string_view value) {
  const FieldKind kind = kind_of_field(name);
  if (kind == FieldKind::other) return ParseError::none;
  if (kind == FieldKind::host) {
    hosts_ = static_cast<std::uint8_t>(std::min(hosts_ + 1, 2));
    const char* const end = value.data() + value.size();
    if (skip<kHostByte>(value.data(), end) != end) sound_host_ = false;
  } else if (kind == FieldKind::transfer_encoding) {
    encodings_ = static_cast<std::uint8_t>(std::min(encodings_ + 1, 2));
    plainly_chunked_ = same_token(value, "chunked");
  } else if (kind == FieldKind::expect) {
    expects_ = true;
    expects_continue_ = http11_ && same_token(value, "100-continue");
  }
  return facts_.take(kind, value);
}

const char* RequestParser::check_framing(int& status) const {
  status = 400;
  if (hosts_ > 1) return "more than one Host";
  if (http11_ && hosts_ == 0) return "no Host";
  if (!sound_host_) return "a malformed Host";
  if (encodings_ != 0) {
    if (!http11_) return "Transfer-Encoding in HTTP/1.0";
    status = 501;
    if (!plainly_chunked_ || encodings_ > 1) return "a Transfer-Encoding other than chunked";
  }
  status = 417;
  if (http11_ && expects_ && !expects_continue_) return "an unknown Expect";
  return nullptr;
}

Parsed RequestParser::put_body(std::string_view in) {
  std::size_t used = 0;
  while (!payload_.done() && used < in.size()) {
    const MessageBody::Step step = payload_.next(in.substr(used), in.size(), trailers_);
    used += step.used;
    if (step.error != ParseError::none) return {used, step.error};
    if (body_ != nullptr) {
      body_->append(step.data);
    } else if (!step.data.empty()) {
      piece_ = step.data;
      break;
    }
  }
  return {used, ParseError::none};
}

Refusal RequestParser::refusal(ParseError error) const {
  switch (error) {
    case ParseError::header_limit:
      return started_ ? Refusal{431, "the header is too large"} : Refusal{414, "the target is too long"};
    case ParseError::body_limit:
      return {413, "the body is too large"};
    default:
      return {400, std::string(to_string(error))};
  }
}

}  // namespace penstock::http
