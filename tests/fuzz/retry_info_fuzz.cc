#include <chrono>

#include "runtime/grpc/retry_info.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock;

FUZZ(text) {
  const auto delay = grpc::retry_delay(text);
  must(!delay || (*delay >= Duration::zero() && *delay < std::chrono::hours(7 * 24) + std::chrono::seconds(1)));
}
