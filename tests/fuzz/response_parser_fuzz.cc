#include <algorithm>
#include <string_view>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/runtime/http/parsed.h"

using namespace penstock::http;

// The first byte says whether the request was HEAD.
FUZZ(text) {
  constexpr std::size_t kMostBody = 16;
  if (text.empty()) return;
  const bool to_head = text.front() == 'H' && !text.starts_with("HTTP");
  if (to_head) text.remove_prefix(1);
  const Bounds bounds{.head = 1024};
  const Message whole = parse_answer(text, std::max<std::size_t>(1, text.size()), to_head, 0, bounds);
  must(whole.used <= text.size());
  std::size_t head = 0;
  for (const auto& [name, value] : whole.headers) head += name.size() + value.size();
  must(head <= bounds.head);
  struct Way {
    std::size_t piece, room;
  };
  for (const Way way : {Way{1, 0}, Way{7, 0}, Way{text.size() + 1, 5}, Way{1, 64}, Way{3, 1}}) {
    const Message other = parse_answer(text, way.piece, to_head, way.room, bounds);
    // How soon it is seen that something is wrong depends on what has come.
    if (whole.complete || other.complete) must(other == whole);
  }
  const Message bounded = parse_answer(text, 7, to_head, 0, {.head = bounds.head, .body = kMostBody});
  must(bounded.body.size() <= kMostBody);
  must(!bounded.complete || bounded == whole);
}
