#pragma once

#include <string>

#include "cli/prometheus.h"
#include "cli/session.h"

namespace penstock::cli {

struct ReplayOptions {
  std::string file;
  // "2h", or a time.
  std::string from;
  // Default: now.
  std::string to;
  Prometheus prometheus;
  // Between two samples.
  std::string step = "5s";
  std::string output = "table";
};

// What the policy would have decided on what Prometheus recorded, beside what was decided by the controller's log.
void replay(const ReplayOptions& options, Session& session);

}  // namespace penstock::cli
