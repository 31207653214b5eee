#pragma once

namespace penstock::telemetry {

// Sends what spdlog logs to stderr, unless the program has chosen where it goes: spdlog's own default is stdout, which
// is for what a program has to say. To be called before other threads log.
void log_to_stderr_by_default();

}  // namespace penstock::telemetry
