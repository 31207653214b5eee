#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/http/request_parser.h"
#include "runtime/http/response_parser.h"

// What the parsers make of a text that comes in pieces: what is not used stays in front of what comes next, as it does
// in a connection.
namespace penstock::http {

// Of a request or of an answer.
struct Message {
  bool complete = false;
  // Set: it is refused.
  ParseError error = ParseError::none;
  std::size_t used = 0;
  bool keep_alive = false;
  std::string method, target;
  int status = 0;
  Headers headers, trailers;
  std::string body;
  bool operator==(const Message&) const = default;
};

struct Bounds {
  std::size_t head = 16 * 1024;
  std::optional<std::uint64_t> body = std::nullopt;
};

inline bool is_wrong(ParseError error) {
  return error != ParseError::none && error != ParseError::need_more && error != ParseError::need_room;
}

inline Message parse_request(std::string_view text, std::size_t piece, const Bounds& bounds = {}) {
  Message message;
  RequestParser parser(bounds.head);
  parser.body_limit(bounds.body);
  parser.append_to(&message.body);
  std::size_t come = 0;
  while (!parser.is_done() && come < text.size()) {
    come = std::min(text.size(), come + piece);
    while (message.used < come && !parser.is_done()) {
      const std::string_view ahead = text.substr(message.used, come - message.used);
      const bool in_body = parser.is_header_done();
      const Parsed parsed = in_body ? parser.put_body(ahead) : parser.put_head(ahead);
      message.used += parsed.used;
      if (is_wrong(parsed.error)) {
        message.error = parsed.error;
        return message;
      }
      if (!in_body && parser.is_header_done()) {
        const RequestHead head = parser.head();
        message.method = head.method();
        message.target = head.target();
        for (std::size_t i = 0; i < head.size(); ++i) message.headers.emplace_back(head.name(i), head.value(i));
      }
      if (parsed.error == ParseError::need_more || parsed.used == 0) break;
    }
  }
  message.complete = parser.is_done();
  message.keep_alive = message.complete && parser.keep_alive();
  message.trailers = parser.trailers();
  return message;
}

// `room`: of the body, for an answer that is streamed; zero: it is not. At its end the text's connection ends as well.
inline Message parse_answer(std::string_view text, std::size_t piece, bool to_head = false, std::size_t room = 0,
                            const Bounds& bounds = {}) {
  Message message;
  Response response;
  ResponseParser parser(response, message.trailers,
                        room == 0 ? ResponseParser::Body::whole : ResponseParser::Body::streamed);
  parser.header_limit(bounds.head);
  parser.body_limit(bounds.body);
  if (to_head) parser.skip_body();
  std::string space(room, '\0');
  std::size_t come = 0;
  while (!parser.is_done() && !is_wrong(message.error)) {
    if (come == text.size()) {
      if (parser.got_some()) parser.put_end();
      break;
    }
    come = std::min(text.size(), come + piece);
    while (message.used < come && !parser.is_done()) {
      parser.set_room(space.data(), space.size());
      const Parsed parsed = parser.put(text.substr(message.used, come - message.used));
      message.used += parsed.used;
      message.body.append(space.data(), parser.filled());
      if (is_wrong(parsed.error)) {
        message.error = parsed.error;
        break;
      }
      if (parsed.error == ParseError::need_more || (parsed.used == 0 && parser.filled() == 0)) break;
    }
  }
  if (room == 0) message.body = response.body;
  message.complete = parser.is_done();
  message.keep_alive = message.complete && parser.keep_alive();
  message.status = response.status;
  message.headers = response.headers;
  return message;
}

}  // namespace penstock::http
