#include <spdlog/spdlog.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "penstock/decision/time.h"
#include "penstock/http_server.h"
#include "runtime/telemetry/utf8.h"

namespace penstock::http {
namespace {

// Clients may send any bytes.
boost::json::string text_of(std::string_view bytes) {
  if (telemetry::is_utf8(bytes)) return boost::json::string(bytes.data(), bytes.size());
  const std::string text = telemetry::as_utf8(bytes);
  return boost::json::string(text.data(), text.size());
}

}  // namespace

void log_access(const AccessRecord& record) {
  boost::json::object line{
      {"method", text_of(record.method)},
      {"target", text_of(record.target)},
      {"status", record.status},
      {"bytes", record.bytes},
      {"seconds", decision::seconds(record.took)},
      {"running", decision::seconds(record.running)},
      {"ready", decision::seconds(record.ready)},
      {"waiting", decision::seconds(record.waiting)},
      {"peer", text_of(record.peer)},
  };
  if (!record.trace_id.empty()) line["trace_id"] = text_of(record.trace_id);
  spdlog::info("access {}", boost::json::serialize(line));
}

}  // namespace penstock::http
