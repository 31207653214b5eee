#pragma once

#include <grpcpp/support/method_handler.h>

#include <concepts>
#include <exception>

// Included ahead of generated service code (CMake: the library of that code links penstock::grpc_handlers), so that
// penstock::grpc::Server learns what a handler threw. Without it the generated code turns every exception into UNKNOWN,
// of which the server can only tell expired and cancelled requests from failed ones.
namespace penstock::grpc {

// Of the handler that the calling fiber runs.
void handler_threw(std::exception_ptr error) noexcept;

}  // namespace penstock::grpc

namespace grpc::internal {

// More constrained than gRPC's own, hence preferred where the handlers are instantiated.
template <std::invocable Callable>
::grpc::Status CatchingFunctionHandler(Callable&& handler) {
  try {
    return handler();
  } catch (...) {
    ::penstock::grpc::handler_threw(std::current_exception());
    return ::grpc::Status(::grpc::StatusCode::UNKNOWN, "Unexpected error in RPC handling");
  }
}

}  // namespace grpc::internal
