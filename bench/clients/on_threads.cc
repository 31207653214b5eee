// bench-clients-threads CLIENT WHERE COUNT: each call on a thread of its own.
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

#include "bench/clients/clients.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int count = std::atoi(argv[3]);
  bench::allow_descriptors();
  std::atomic<int> failed{0};
  double cpu = 0;
  std::chrono::steady_clock::time_point begun, ended;
  std::barrier connected(count, [&]() noexcept {
    cpu = bench::cpu_seconds();
    begun = std::chrono::steady_clock::now();
  });
  std::barrier called(count, [&]() noexcept {
    cpu = bench::cpu_seconds() - cpu;
    ended = std::chrono::steady_clock::now();
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      std::unique_ptr<bench::Client> client;
      const auto attempt = [&](auto&& step) {
        try {
          step();
        } catch (const std::exception& e) {
          if (failed++ < 3) std::fprintf(stderr, "%s\n", e.what());
        }
      };
      attempt([&] { client = bench::make_client(argv[1], argv[2]); });
      connected.arrive_and_wait();
      if (client != nullptr) attempt([&] { client->call(); });
      called.arrive_and_wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
  bench::print({std::chrono::duration<double>(ended - begun).count(), cpu, failed});
  return failed == 0 ? 0 : 1;
}
