#include <algorithm>
#include <string_view>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/runtime/http/parsed.h"

using namespace penstock::http;

FUZZ(text) {
  const Bounds bounds{.head = 1024, .body = 4096};
  const Message whole = parse_request(text, std::max<std::size_t>(1, text.size()), bounds);
  must(whole.used <= text.size() && whole.body.size() <= 4096);
  for (const std::size_t piece : {1, 7}) {
    const Message pieces = parse_request(text, piece, bounds);
    // How soon it is seen that something is wrong depends on what has come.
    if (whole.complete || pieces.complete) must(pieces == whole);
  }
  RequestParser parser(1024);
  if (parser.put_head(text).error != ParseError::none) return;
  const RequestHead head = parser.head();
  for (std::size_t i = 0; i < head.size(); ++i) must(head.find(head.name(i)).data() != nullptr);
  int status = 0;
  if (parser.check_framing(status) != nullptr) must(status >= 400 && status < 600);
}
