#include <cstdio>

// thread_local data of a shared library, with a constructor and a destructor.
namespace {
struct Counter {
  int count = 40;
  Counter() { std::puts("made"); }
  ~Counter() {
    std::printf("destroyed at %d\n", count);
    std::fflush(stdout);
  }
};
thread_local Counter counter;
}  // namespace

extern "C" int next_of_this_thread() { return ++counter.count; }
