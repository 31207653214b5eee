#pragma once

#include <cstdint>

#include "penstock/decision/time.h"

namespace penstock {
class MetricsRegistry;
}

namespace penstock::telemetry {

// Of this process, as the kernel says now.
std::uint64_t resident_bytes();
decision::Duration cpu_time();

// process_* as every Prometheus client has them, and penstock_build_info.
void register_process_metrics(MetricsRegistry& metrics);

}  // namespace penstock::telemetry
