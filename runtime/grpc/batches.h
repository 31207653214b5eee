#pragma once

#include <optional>

namespace penstock::grpc {

class FiberCall;

// The batches of FiberCalls that are in flight, by their tags, over all of the process. A tag is the address of the
// operations, which live until their wait has ended. Thread-safe.
class Batches {
 public:
  static void note(void* tag, FiberCall& call, bool last);
  // Called by who drains the queue. False: the tag was not noted.
  static bool complete(void* tag, bool ok) noexcept;
  // Waits for its end, and forgets it: whether it went well. Unset, without a wait: it was not noted. Ends the process
  // when there is no memory to wait: the operations cannot be left.
  static std::optional<bool> wait(void* tag) noexcept;
};

}  // namespace penstock::grpc
