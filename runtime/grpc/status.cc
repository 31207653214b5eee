#include "runtime/grpc/status.h"

#include <grpc/support/time.h>

#include <boost/context/detail/exception.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "penstock/grpc.h"
#include "penstock/http_client.h"

namespace penstock::grpc {
namespace {

using ::grpc::StatusCode;
using std::chrono::nanoseconds;

// The few bytes of protobuf that a status with a RetryInfo is made of; protobuf itself is not linked for them.
void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_number(std::string& out, int field, std::uint64_t value) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3);
  append_varint(out, value);
}

void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

// A google.rpc.Status with one google.rpc.RetryInfo.
std::string details_with(StatusCode code, std::string_view message, Duration retry_after) {
  const std::int64_t ns = std::chrono::duration_cast<nanoseconds>(retry_after).count();
  std::string delay;
  append_number(delay, 1, static_cast<std::uint64_t>(ns / 1'000'000'000));
  append_number(delay, 2, static_cast<std::uint64_t>(ns % 1'000'000'000));
  std::string info;
  append_bytes(info, 1, delay);
  std::string any;
  append_bytes(any, 1, "type.googleapis.com/google.rpc.RetryInfo");
  append_bytes(any, 2, info);
  std::string status;
  append_number(status, 1, static_cast<std::uint64_t>(code));
  append_bytes(status, 2, message);
  append_bytes(status, 3, any);
  return status;
}

StatusCode code_of(RejectReason reason) {
  switch (reason) {
    case RejectReason::breaker:
      return StatusCode::UNAVAILABLE;
    case RejectReason::deadline:
      return StatusCode::DEADLINE_EXCEEDED;
    default:
      return StatusCode::RESOURCE_EXHAUSTED;
  }
}

}  // namespace

::grpc::Status status_of(const Rejected& rejected) {
  const StatusCode code = code_of(rejected.reason());
  if (rejected.retry_after() <= Duration::zero()) return {code, rejected.what()};
  return {code, rejected.what(), details_with(code, rejected.what(), rejected.retry_after())};
}

::grpc::Status status_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const boost::context::detail::forced_unwind&) {
    throw;
  } catch (const Rejected& e) {
    return status_of(e);
  } catch (const DeadlineExceeded&) {
    return {StatusCode::DEADLINE_EXCEEDED, "deadline exceeded"};
  } catch (const Cancelled&) {
    return {StatusCode::CANCELLED, "cancelled"};
  } catch (const http::CallError&) {
    return {StatusCode::UNAVAILABLE, "an upstream failed"};
  } catch (...) {
    return {StatusCode::INTERNAL, "internal error"};
  }
}

int http_code(StatusCode code) {
  switch (code) {
    case StatusCode::OK:
      return 200;
    case StatusCode::CANCELLED:
      return 499;
    case StatusCode::INVALID_ARGUMENT:
    case StatusCode::FAILED_PRECONDITION:
    case StatusCode::OUT_OF_RANGE:
      return 400;
    case StatusCode::UNAUTHENTICATED:
      return 401;
    case StatusCode::PERMISSION_DENIED:
      return 403;
    case StatusCode::NOT_FOUND:
      return 404;
    case StatusCode::ALREADY_EXISTS:
    case StatusCode::ABORTED:
      return 409;
    case StatusCode::RESOURCE_EXHAUSTED:
      return 429;
    case StatusCode::UNIMPLEMENTED:
      return 501;
    case StatusCode::UNAVAILABLE:
      return 503;
    case StatusCode::DEADLINE_EXCEEDED:
      return 504;
    default:
      return 500;
  }
}

CallOutcome outcome_of(StatusCode code) {
  switch (code) {
    case StatusCode::UNAVAILABLE:
    case StatusCode::INTERNAL:
    case StatusCode::UNKNOWN:
    case StatusCode::DATA_LOSS:
      return CallOutcome::error;
    case StatusCode::DEADLINE_EXCEEDED:
      return CallOutcome::timeout;
    case StatusCode::CANCELLED:
      return CallOutcome::cancelled;
    default:
      return CallOutcome::ok;
  }
}

Instant to_instant(gpr_timespec time) {
  const gpr_timespec inf = ::gpr_inf_future(time.clock_type);
  if (::gpr_time_cmp(time, inf) >= 0) return Instant::max();
  const gpr_timespec now = ::gpr_now(time.clock_type);
  const gpr_timespec left = ::gpr_time_sub(time, now);
  const Instant at = std::chrono::steady_clock::now();
  if (left.tv_sec > std::chrono::duration_cast<std::chrono::seconds>(Instant::max() - at).count() - 1) {
    return Instant::max();
  }
  return at + std::chrono::seconds(left.tv_sec) + nanoseconds(left.tv_nsec);
}

gpr_timespec to_timespec(Instant time) {
  if (time == Instant::max()) return ::gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const auto left = std::chrono::duration_cast<nanoseconds>(time - std::chrono::steady_clock::now()).count();
  return ::gpr_time_add(::gpr_now(GPR_CLOCK_MONOTONIC), ::gpr_time_from_nanos(left, GPR_TIMESPAN));
}

}  // namespace penstock::grpc
