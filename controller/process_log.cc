#include "controller/process_log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <ctime>
#include <memory>

namespace penstock::controller {
namespace {

// Marks a payload that is already a list of JSON members.
constexpr std::string_view kMembers = "\x01";

class JsonLine final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(message.time.time_since_epoch()).count();
    const std::time_t seconds = micros / 1'000'000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char time[40];
    const std::size_t size = std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    std::snprintf(time + size, sizeof time - size, ".%06ldZ", static_cast<long>(micros % 1'000'000));
    const std::string_view level(spdlog::level::to_string_view(message.level).data(),
                                 spdlog::level::to_string_view(message.level).size());
    std::string_view payload(message.payload.data(), message.payload.size());
    std::string line = R"({"time":")" + std::string(time) + R"(","level":")" + std::string(level) + '"';
    if (payload.starts_with(kMembers)) {
      line += payload.substr(kMembers.size());
    } else {
      line += ",\"message\":" + boost::json::serialize(boost::json::value(payload));
    }
    line += "}\n";
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonLine>(); }
};

}  // namespace

bool configure_log(std::string_view level) {
  static constexpr std::array kLevels = {
      std::pair{"trace", spdlog::level::trace}, std::pair{"debug", spdlog::level::debug},
      std::pair{"info", spdlog::level::info},   std::pair{"warn", spdlog::level::warn},
      std::pair{"error", spdlog::level::err},   std::pair{"off", spdlog::level::off}};
  for (const auto& [name, value] : kLevels) {
    if (level != name) continue;
    auto logger = std::make_shared<spdlog::logger>("controller", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_formatter(std::make_unique<JsonLine>());
    logger->set_level(value);
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
    return true;
  }
  return false;
}

void log_event(std::string_view event, std::initializer_list<std::pair<std::string_view, std::string>> fields) {
  if (!spdlog::should_log(spdlog::level::info)) return;
  std::string line(kMembers);
  line += ",\"event\":" + boost::json::serialize(boost::json::value(event));
  for (const auto& [name, value] : fields)
    if (!value.empty())
      line += "," + boost::json::serialize(boost::json::value(name)) + ":" +
              boost::json::serialize(boost::json::value(value));
  spdlog::info("{}", line);
}

void log_event(std::string_view event, const boost::json::object& fields) {
  if (!spdlog::should_log(spdlog::level::info)) return;
  std::string line(kMembers);
  line += ",\"event\":" + boost::json::serialize(boost::json::value(event));
  for (const auto& [name, value] : fields)
    line += "," + boost::json::serialize(boost::json::value(name)) + ":" + boost::json::serialize(value);
  spdlog::info("{}", line);
}

}  // namespace penstock::controller
