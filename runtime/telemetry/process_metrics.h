#pragma once

#include <sys/types.h>

#include <cstdint>

#include "penstock/decision/time.h"

namespace penstock {
class MetricsRegistry;
}

namespace penstock::telemetry {

// Of this process, as the kernel says now.
std::uint64_t resident_bytes();
// The same for who asks often: a third of the time, for a descriptor. Not thread-safe.
class ResidentMemory {
 public:
  ResidentMemory() = default;
  ~ResidentMemory();
  ResidentMemory(const ResidentMemory&) = delete;
  std::uint64_t bytes();

 private:
  // Of /proc/self/statm.
  int fd_ = -1;
};
decision::Duration cpu_time();
// Of another thread, by the kernel's number; zero when it has ended.
decision::Duration cpu_time_of_thread(pid_t thread);

// process_* as every Prometheus client has them, and penstock_build_info.
void register_process_metrics(MetricsRegistry& metrics);

}  // namespace penstock::telemetry
