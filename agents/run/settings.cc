#include "agents/run/settings.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace penstock::run {
namespace {

constexpr char kService[] = "PENSTOCK_RUN_SERVICE";
constexpr char kAddress[] = "PENSTOCK_RUN_ADDRESS";
constexpr char kPort[] = "PENSTOCK_RUN_PORT";
constexpr char kThreads[] = "PENSTOCK_RUN_THREADS";
constexpr char kPolicy[] = "PENSTOCK_RUN_POLICY";
constexpr char kController[] = "PENSTOCK_RUN_CONTROLLER";
constexpr char kNode[] = "PENSTOCK_RUN_NODE";
constexpr char kStats[] = "PENSTOCK_RUN_STATS";
constexpr char kPlainThreads[] = "PENSTOCK_RUN_PLAIN_THREADS";

std::string value(const char* name) {
  const char* found = std::getenv(name);
  return found != nullptr ? found : "";
}

}  // namespace

void Settings::publish() const {
  const auto set = [](const char* name, const std::string& text) { ::setenv(name, text.c_str(), 1); };
  set(kService, service);
  set(kAddress, address);
  set(kPort, std::to_string(port));
  set(kThreads, std::to_string(threads));
  set(kPolicy, policy_file);
  set(kController, controller);
  set(kNode, node);
  set(kStats, stats ? "1" : "");
  std::string names;
  for (const std::string& name : plain_threads) names += (names.empty() ? "" : ":") + name;
  set(kPlainThreads, names);
}

std::optional<Settings> Settings::received() {
  Settings settings;
  settings.service = value(kService);
  if (settings.service.empty()) return std::nullopt;
  settings.address = value(kAddress);
  settings.port = static_cast<unsigned short>(std::strtoul(value(kPort).c_str(), nullptr, 10));
  const auto threads = static_cast<unsigned>(std::strtoul(value(kThreads).c_str(), nullptr, 10));
  settings.threads = std::clamp(threads, 1U, kMostThreads);
  settings.policy_file = value(kPolicy);
  settings.controller = value(kController);
  settings.node = value(kNode);
  settings.stats = !value(kStats).empty();
  std::istringstream names(value(kPlainThreads));
  for (std::string name; std::getline(names, name, ':');) settings.plain_threads.push_back(name);
  return settings;
}

}  // namespace penstock::run
