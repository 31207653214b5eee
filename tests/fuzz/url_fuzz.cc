#include <optional>
#include <stdexcept>
#include <string>

#include "runtime/http/url.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock::http;

namespace {

std::optional<CallTarget> parsed(std::string_view url) {
  try {
    return parse_url(url);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

}  // namespace

FUZZ(text) {
  const std::optional<CallTarget> target = parsed(text);
  if (target) {
    must(!target->host.empty() && target->port != 0 && target->target.starts_with('/'));
    // What goes into a request line or a header.
    for (const std::string& sent : {target->target, target->authority}) {
      must(sent.find_first_of(std::string_view("\r\n \0", 4)) == sent.npos);
    }
    const std::optional<CallTarget> again = parsed(target->origin() + target->target);
    must(again && again->origin() == target->origin() && again->target == target->target);
  }
  // The quick way finds connections by their canonical origin: it leads where the other does.
  const std::optional<UrlParts> parts = split_url(text);
  if (!parts) return;
  const std::optional<CallTarget> origin = parsed(parts->origin);
  if (!origin || origin->origin() != parts->origin) return;
  must(target && target->origin() == parts->origin);
  must(target->target == (parts->target.starts_with('/') ? "" : "/") + std::string(parts->target));
}
