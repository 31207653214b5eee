#include "controller/loop/evidence.h"

#include <cstdio>

namespace penstock::controller {

void set_number(v1::Decision& decision, const std::string& name, double value) {
  (*decision.mutable_evidence()->mutable_fields())[name].set_number_value(value);
}

void set_text(v1::Decision& decision, const std::string& name, const std::string& value) {
  (*decision.mutable_evidence()->mutable_fields())[name].set_string_value(value);
}

void set_list(v1::Decision& decision, const std::string& name, const std::vector<std::string>& values) {
  auto* list = (*decision.mutable_evidence()->mutable_fields())[name].mutable_list_value();
  for (const std::string& value : values) list->add_values()->set_string_value(value);
}

std::string format_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace penstock::controller
