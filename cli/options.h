#pragma once

#include <CLI/CLI.hpp>
#include <iterator>
#include <string>
#include <vector>

#include "cli/printer.h"

// Options that several commands have, spelt the same in each.
namespace penstock::cli {

inline void add_output(CLI::App& command, std::string& output, std::vector<std::string> forms) {
  command.add_option("-o,--output", output, "Form of the output")
      ->check(CLI::IsMember(std::move(forms)))
      ->capture_default_str();
}
inline std::vector<std::string> every_output() { return {std::begin(kOutputs), std::end(kOutputs)}; }

inline void add_service(CLI::App& command, std::string& service) {
  command.add_option("--service", service, "Of this service")->type_name("NAME");
}

inline void add_files(CLI::App& command, std::vector<std::string>& files) {
  command.add_option("-f,--file", files, "Policy file; - reads stdin")->required()->type_name("FILE");
}

}  // namespace penstock::cli
