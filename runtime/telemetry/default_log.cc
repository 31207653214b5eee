#include "runtime/telemetry/default_log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

namespace penstock::telemetry {

void log_to_stderr_by_default() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const std::shared_ptr<spdlog::logger> given = spdlog::default_logger();
  if (given == nullptr || !given->name().empty() || given->sinks().size() != 1) return;
  if (std::dynamic_pointer_cast<spdlog::sinks::stdout_color_sink_mt>(given->sinks().front()) == nullptr) return;
  auto logger = std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  // With the program's pattern, if it has set one. Only an unknown name can be initialized.
  spdlog::drop(given->name());
  spdlog::initialize_logger(logger);
  logger->set_level(given->level());
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace penstock::telemetry
