#include "runtime/http/request_target.h"

#include <string>

#include "runtime/http/router.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock::http;

namespace {

const Router& router() {
  static const Router router = [] {
    Router made;
    const RouteHandler handler{[](const Request&) { return Response(); }, {}};
    for (const char* pattern : {"/", "/a/b", "/a/{id}", "/{x}/b/{y}", "/files/*", "/files/a/*"}) {
      made.add("GET", pattern, handler);
    }
    return made;
  }();
  return router;
}

std::string encode(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char c : text) out.append({'%', kDigits[c >> 4], kDigits[c & 15]});
  return out;
}

}  // namespace

FUZZ(text) {
  const std::string_view path = path_of(text);
  must(path.find_first_of("?#") == path.npos);
  if (text.starts_with('/')) must(path.data() == text.data());
  must(percent_decode(text, true).size() <= text.size());
  must(percent_decode(encode(text), true) == text);

  const std::string canonical = canonical_path(path);
  must(canonical_path(canonical) == canonical);
  must(percent_decode(canonical, false) == percent_decode(path, false));
  if (is_plain_path(path)) must(canonical == path);
  must(percent_decode(percent_encode(text), true) == text);

  Router::Params params;
  const Router::Found found = router().find(path, "GET", params);
  must((found.route == nullptr) == (found.handler == nullptr));
  if (const Route* route = found.route) {
    must(canonical.starts_with('/'));
    for (const auto& [name, value] : params) must(!name.empty() && !value.empty());
    must(route->pattern.find('{') == std::string::npos ? params.empty() : !params.empty());
  } else {
    must(params.empty());
  }

  query_value(text, "a");
  const std::string target = "/p?x=1&" + encode(text) + "=" + encode(path) + "#end";
  must(query_value(target, text == "x" ? "y" : text) ==
       (text == "x" ? std::nullopt : std::optional<std::string>(path)));
}
