#include "runtime/http/response_parser.h"

#include <algorithm>
#include <array>
#include <boost/beast/http/error.hpp>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz.h"

using namespace penstock;
using namespace penstock::http;

namespace {

constexpr std::size_t kMostHead = 1024;
constexpr std::size_t kMostBody = 16;

struct Outcome {
  bool complete = false;
  bool refused = false;
  bool keep_alive = false;
  std::size_t used = 0;
  int status = 0;
  Headers headers, trailers;
  std::string body;
  bool operator==(const Outcome&) const = default;
};

struct Way {
  ResponseParser::Body body;
  // What comes at a time, and what the room for the body holds.
  std::size_t piece;
  std::size_t room;
  bool bounded = false;
};

// As a connection does it: what is not used stays in front of what comes.
Outcome parse(std::string_view text, bool to_head, const Way& way) {
  using Error = boost::beast::http::error;
  Outcome outcome;
  Response response;
  ResponseParser parser(response, outcome.trailers, way.body);
  parser.header_limit(kMostHead);
  if (way.bounded) {
    parser.body_limit(kMostBody);
  } else {
    parser.body_limit(boost::none);
  }
  if (to_head) parser.skip(true);
  std::array<char, 64> room;
  std::size_t come = 0;
  bool ended = false;
  while (!parser.is_done()) {
    boost::system::error_code ec;
    std::size_t used = 0;
    if (way.body == ResponseParser::Body::streamed && parser.is_header_done()) parser.set_room(room.data(), way.room);
    if (come > outcome.used)
      used = parser.put(boost::asio::const_buffer(text.data() + outcome.used, come - outcome.used), ec);
    must(used <= come - outcome.used);
    outcome.used += used;
    outcome.body.append(room.data(), parser.filled());
    parser.set_room(nullptr, 0);
    if (ec == Error::need_buffer) {
      must(way.body == ResponseParser::Body::streamed);
      continue;
    }
    if (ec && ec != Error::need_more) {
      outcome.refused = true;
      break;
    }
    if (parser.is_done()) break;
    if (come < text.size()) {
      come = std::min(text.size(), come + way.piece);
    } else if (used == 0 || outcome.used == come) {
      if (ended || !parser.got_some()) break;
      ended = true;
      ec = {};
      parser.put_eof(ec);
      if (ec) break;
    }
  }
  outcome.complete = parser.is_done();
  if (way.body == ResponseParser::Body::whole) outcome.body = response.body;
  must(!way.bounded || outcome.body.size() <= kMostBody);
  std::size_t head = 0;
  for (const auto& [name, value] : response.headers) head += name.size() + value.size();
  must(head <= kMostHead);
  outcome.status = response.status;
  outcome.headers = response.headers;
  if (outcome.complete) outcome.keep_alive = parser.keep_alive();
  return outcome;
}

}  // namespace

// The first byte says whether the request was HEAD.
FUZZ(text) {
  using Body = ResponseParser::Body;
  if (text.empty()) return;
  const bool to_head = text.front() == 'H' && !text.starts_with("HTTP");
  if (to_head) text.remove_prefix(1);
  // Where the head is too long, a part of it may be seen.
  const bool short_head = text.substr(0, kMostHead).find("\r\n\r\n") != text.npos;
  const Outcome whole = parse(text, to_head, {Body::whole, std::max<std::size_t>(1, text.size()), 0});
  for (const Way& way : {Way{Body::whole, 1, 0}, Way{Body::whole, 7, 0}, Way{Body::streamed, text.size() + 1, 5},
                         Way{Body::streamed, 1, 64}, Way{Body::streamed, 3, 1}}) {
    const Outcome other = parse(text, to_head, way);
    // Of an incomplete one, Beast may see what is wrong sooner or later.
    if (short_head && (whole.complete || other.complete)) must(other == whole);
  }
  const Outcome bounded = parse(text, to_head, {Body::whole, 7, 0, true});
  must(!short_head || !bounded.complete || bounded == whole);
}
