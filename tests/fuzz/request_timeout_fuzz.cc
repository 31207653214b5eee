#include <chrono>
#include <optional>

#include "runtime/http/request_timeout.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock;

FUZZ(text) {
  for (const auto& parsed : {http::parse_request_timeout(text), http::parse_grpc_timeout(text)}) {
    must(!parsed || (*parsed > Duration::zero() && *parsed <= std::chrono::minutes(100'000'000)));
  }
}
