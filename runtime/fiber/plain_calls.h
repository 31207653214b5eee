#pragma once

namespace penstock::fiber {

// Within its scope, which must contain no wait, interposed calls of this thread are plain ones, and threads that it
// starts are real: for the runtime's own work on a fiber.
class PlainCalls {
 public:
  PlainCalls() noexcept { ++depth_; }
  ~PlainCalls() { --depth_; }
  PlainCalls(const PlainCalls&) = delete;
  PlainCalls& operator=(const PlainCalls&) = delete;

  static bool active() noexcept { return depth_ != 0; }

 private:
  static inline constinit thread_local int depth_ = 0;
};

}  // namespace penstock::fiber
