#pragma once

namespace penstock::fiber {

// Within its scope destructors of thread_local objects that the caller makes are never called, where calls are
// interposed: for threads that end with the process. To have them called the C library waits for its loader, which may
// be in the midst of loading a library that waits for the caller.
class WithoutThreadExit {
 public:
  WithoutThreadExit() noexcept { ++depth_; }
  ~WithoutThreadExit() { --depth_; }
  WithoutThreadExit(const WithoutThreadExit&) = delete;
  WithoutThreadExit& operator=(const WithoutThreadExit&) = delete;
  static bool active() noexcept { return depth_ != 0; }

 private:
  static inline constinit thread_local int depth_ = 0;
};

}  // namespace penstock::fiber
