#include <stdexcept>
#include <string>

#include "runtime/http/url.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock::http;

FUZZ(text) {
  CallTarget target;
  try {
    target = parse_url(text);
  } catch (const std::invalid_argument&) {
    return;
  }
  must(!target.host.empty() && target.port != 0 && target.target.starts_with('/'));
  // What goes into a request line or a header.
  for (const std::string& sent : {target.target, target.authority}) {
    must(sent.find_first_of(std::string_view("\r\n \0", 4)) == sent.npos);
  }
}
