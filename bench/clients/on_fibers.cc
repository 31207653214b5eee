// bench-clients-penstock CLIENT WHERE COUNT: each call on a fiber, all on one thread.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "bench/clients/clients.h"
#include "penstock/group.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int count = std::atoi(argv[3]);
  bench::allow_descriptors();
  penstock::Runtime runtime({.threads = 1});
  std::atomic<int> failed{0};
  bench::Measured measured{};
  runtime.spawn("bench", [&] {
    int connecting = count, calling = count;
    penstock::Event connected, called;
    penstock::Group group;
    for (int i = 0; i < count; ++i) {
      group.spawn("client", [&] {
        std::unique_ptr<bench::Client> client;
        const auto attempt = [&](auto&& step) {
          try {
            step();
          } catch (const std::exception& e) {
            if (failed++ < 3) std::fprintf(stderr, "%s\n", e.what());
          }
        };
        attempt([&] { client = bench::make_client(argv[1], argv[2]); });
        if (--connecting == 0) {
          measured.cpu_s = bench::cpu_seconds();
          measured.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
          connected.set();
        }
        connected.wait();
        if (client != nullptr) attempt([&] { client->call(); });
        if (--calling == 0) {
          measured.cpu_s = bench::cpu_seconds() - measured.cpu_s;
          measured.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count() -
                            measured.wall_s;
          called.set();
        }
        called.wait();
      });
    }
    group.join();
    runtime.stop();
  });
  runtime.run();
  measured.failed = failed;
  bench::print(measured);
  return failed == 0 ? 0 : 1;
}
