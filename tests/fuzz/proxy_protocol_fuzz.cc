#include <string>

#include "runtime/net/proxy_protocol.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock::net;

FUZZ(text) {
  using Result = ProxyHeader::Result;
  const ProxyHeader whole = parse_proxy_header(text);
  must(whole.result != Result::complete || (whole.size > 0 && whole.size <= text.size()));
  must(whole.result != Result::need_more || text.size() < kMostProxyHeader);
  must((whole.result == Result::refused) == (*whole.why != '\0'));
  must(!whole.source || whole.result == Result::complete);
  if (whole.result != Result::complete) return;
  // What follows has no say, and no beginning of it is a header or refused.
  const ProxyHeader exact = parse_proxy_header(text.substr(0, whole.size));
  must(exact.result == Result::complete && exact.size == whole.size && exact.source == whole.source);
  for (std::size_t n = 0; n < whole.size; ++n) must(parse_proxy_header(text.substr(0, n)).result == Result::need_more);
}
