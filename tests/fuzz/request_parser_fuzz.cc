#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/http/request_head.h"
#include "runtime/http/request_parser.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock::http;

namespace {

struct Outcome {
  bool complete = false;
  int refused = 0;
  std::size_t used = 0;
  std::vector<std::string> head;
  std::string body;
  bool operator==(const Outcome&) const = default;
};

// As a connection does it: what is not used stays in front of what comes.
Outcome parse(std::string_view text, std::size_t piece) {
  RequestParser parser(1024, 4096);
  parser.eager(true);
  Outcome outcome;
  parser.append_to(&outcome.body);
  std::size_t come = 0;
  while (!parser.is_done()) {
    come = std::min(text.size(), come + piece);
    boost::system::error_code ec;
    const std::string_view rest = text.substr(outcome.used, come - outcome.used);
    const std::size_t used = rest.empty() ? 0 : parser.put(boost::asio::const_buffer(rest.data(), rest.size()), ec);
    must(used <= rest.size());
    outcome.used += used;
    if (parser.is_header_done() && outcome.head.empty()) {
      const RequestHead head = parser.head();
      outcome.head = {std::string(head.method()), std::string(head.target())};
      for (std::size_t i = 0; i < head.size(); ++i) {
        outcome.head.emplace_back(head.name(i));
        outcome.head.emplace_back(head.value(i));
        must(head.find(head.name(i)).data() != nullptr);
      }
      if (int status = 0; parser.check_framing(status) != nullptr) {
        must(status >= 400 && status < 600);
        outcome.refused = status;
        return outcome;
      }
    }
    if (ec && ec != boost::beast::http::error::need_more) {
      outcome.refused = parser.refusal(ec).status;
      must(outcome.refused >= 400 && outcome.refused < 600);
      return outcome;
    }
    if (come == text.size() && (used == 0 || outcome.used == text.size())) break;
  }
  outcome.complete = parser.is_done();
  must(outcome.body.size() <= 4096);
  return outcome;
}

}  // namespace

FUZZ(text) {
  const Outcome whole = parse(text, std::max<std::size_t>(1, text.size()));
  for (const std::size_t piece : {1, 7}) {
    const Outcome pieces = parse(text, piece);
    // Of an incomplete one, Beast may see what is wrong sooner or later.
    if (whole.complete || pieces.complete) must(pieces == whole);
  }
}
