#include <chrono>
#include <string>

#include "penstock/http_message.h"
#include "runtime/http/retry_after.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock;

FUZZ(text) {
  http::Response response;
  response.headers.emplace_back("Retry-After", std::string(text));
  const auto delay = http::retry_after(response);
  must(!delay || (*delay >= decision::Duration::zero() && *delay <= std::chrono::hours(7 * 24)));
}
