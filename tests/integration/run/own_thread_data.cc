#include <cstdio>
#include <thread>

// Data of the program itself that each thread has.
thread_local int counter = 40;

int main() {
  std::thread([] { ++counter; }).join();
  counter += 2;
  std::printf("%d\n", counter);
  return counter == 42 ? 0 : 1;
}
