#pragma once

#include <grpc/grpc.h>

#include <functional>
#include <memory>

namespace penstock::grpc {

// What this library puts between libgrpc++ and libgrpc: grpc_completion_queue_create, _pluck and _destroy are defined
// here, as functions of the program, and pass to libgrpc what is not ours.

// Whether the calling thread made this queue last, and made it for plucking: so do the synchronous classes of stubs
// right before they create their call, and nobody else.
bool made_to_block(grpc_completion_queue* queue) noexcept;

// Keeps it until that queue is destroyed, which is when the synchronous object that made the queue ends.
void keep_with(grpc_completion_queue* queue, std::shared_ptr<void> thing);

// Throws std::logic_error unless the functions above are those that libgrpc++ calls.
void require_interposed();

}  // namespace penstock::grpc
