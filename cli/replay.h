#pragma once

#include <string>

#include "cli/session.h"

namespace penstock::cli {

struct ReplayOptions {
  std::string file;
  // "2h", or a time.
  std::string from;
  // Default: now.
  std::string to;
  std::string prometheus = "http://127.0.0.1:9090";
  // Between two samples.
  std::string step = "5s";
  std::string output = "table";
};

// What the policy would have decided on what Prometheus recorded, beside what was decided by the controller's log.
void replay(const ReplayOptions& options, Session& session);

}  // namespace penstock::cli
