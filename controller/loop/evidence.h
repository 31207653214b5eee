#pragma once

#include <string>
#include <vector>

#include "penstock/v1/admin.pb.h"

// The numbers that a decision rests on, in its log entry.
namespace penstock::controller {

void set_number(v1::Decision& decision, const std::string& name, double value);
void set_text(v1::Decision& decision, const std::string& name, const std::string& value);
void set_list(v1::Decision& decision, const std::string& name, const std::vector<std::string>& values);

// Three significant digits.
std::string format_number(double value);

}  // namespace penstock::controller
