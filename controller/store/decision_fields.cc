#include "controller/store/decision_fields.h"

#include <google/protobuf/util/time_util.h>

#include <boost/json/array.hpp>
#include <cmath>
#include <string_view>

namespace penstock::controller {
namespace {

namespace json = boost::json;

json::value to_json(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kNumberValue:
      // JSON has no words for infinity.
      if (std::isfinite(value.number_value())) return value.number_value();
      return nullptr;
    case google::protobuf::Value::kStringValue:
      return json::string(value.string_value());
    case google::protobuf::Value::kBoolValue:
      return value.bool_value();
    case google::protobuf::Value::kListValue: {
      json::array list;
      for (const auto& element : value.list_value().values()) list.push_back(to_json(element));
      return list;
    }
    case google::protobuf::Value::kStructValue: {
      json::object object;
      for (const auto& [name, field] : value.struct_value().fields()) object[name] = to_json(field);
      return object;
    }
    default:
      return nullptr;
  }
}

}  // namespace

json::object decision_fields(const v1::Decision& decision) {
  json::object fields;
  const auto text = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) fields[name] = value;
  };
  fields["id"] = decision.id();
  if (decision.has_time()) fields["decided"] = google::protobuf::util::TimeUtil::ToString(decision.time());
  text("kind", decision.kind());
  text("name", decision.name());
  text("service", decision.service());
  text("node", decision.node());
  text("policy", decision.policy());
  text("action", decision.action());
  text("reason", decision.reason());
  text("verdict", decision.verdict());
  if (decision.has_confidence()) fields["confidence"] = decision.confidence();
  text("message", decision.message());
  text("formula", decision.formula());
  text("would_change", decision.would_change());
  if (decision.has_evidence()) {
    json::object evidence;
    for (const auto& [name, value] : decision.evidence().fields()) evidence[name] = to_json(value);
    fields["evidence"] = std::move(evidence);
  }
  if (decision.shadow()) fields["shadow"] = true;
  return fields;
}

}  // namespace penstock::controller
