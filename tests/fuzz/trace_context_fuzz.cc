#include <optional>
#include <string>

#include "runtime/http/trace_context.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock::http;

FUZZ(text) {
  const std::optional<TraceContext> parsed = TraceContext::parse(text);
  if (!parsed) return;
  must(parsed->valid() && text.size() >= 55);
  must(trace_id_of(text).size() == 32);
  const std::string written = parsed->header();
  const std::optional<TraceContext> again = TraceContext::parse(written);
  must(again && again->trace_id == parsed->trace_id && again->parent_id == parsed->parent_id);
  must(again->header() == written);
}
