#pragma once

#include <atomic>

// System calls that fail at a test's command: its program defines them instead of the C library.
namespace penstock::refused_calls {

// The error of every accept4(); 0: none.
extern std::atomic<int> accept;
// The error of every madvise() that makes a guard page, and of every mprotect() that does; 0: none.
extern std::atomic<int> guards;
// The error of every mmap() of stacks; 0: none.
extern std::atomic<int> stacks;

// Sets one of them while this lives.
class Refused {
 public:
  Refused(std::atomic<int>& call, int error) : call_(call) { call_ = error; }
  ~Refused() { call_ = 0; }
  Refused(const Refused&) = delete;
  Refused& operator=(const Refused&) = delete;

 private:
  std::atomic<int>& call_;
};

}  // namespace penstock::refused_calls
