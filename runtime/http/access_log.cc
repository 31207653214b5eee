#include <spdlog/spdlog.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <string_view>

#include "penstock/decision/time.h"
#include "penstock/http_server.h"

namespace penstock::http {

void log_access(const AccessRecord& record) {
  const auto text = [](std::string_view view) { return boost::json::string(view.data(), view.size()); };
  boost::json::object line{
      {"method", text(record.method)},
      {"target", text(record.target)},
      {"status", record.status},
      {"bytes", record.bytes},
      {"seconds", decision::seconds(record.took)},
      {"running", decision::seconds(record.running)},
      {"ready", decision::seconds(record.ready)},
      {"waiting", decision::seconds(record.waiting)},
      {"peer", text(record.peer)},
  };
  if (!record.trace_id.empty()) line["trace_id"] = text(record.trace_id);
  spdlog::info("access {}", boost::json::serialize(line));
}

}  // namespace penstock::http
