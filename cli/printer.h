#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/table.h"

namespace google::protobuf {
class Message;
}

namespace penstock::cli {

// How results are shown.
enum class Output { table, wide, json, yaml, name };
inline constexpr const char* kOutputs[] = {"table", "wide", "json", "yaml", "name"};
Output parse_output(const std::string& name);

// What a command has to show, in each of its forms.
struct Result {
  // For table and wide.
  Table table;
  // "pool/default", for name.
  std::vector<std::string> names;
  // For json and yaml.
  std::shared_ptr<const google::protobuf::Message> message;
  // For yaml instead of `message`, when several documents are wanted.
  std::vector<std::string> documents = {};
  // On stderr, when a table would be empty.
  std::string nothing = {};
};

void print(const Result& result, Output output, const Console& console);

// Shows `result` again every `period`: redrawn on a terminal, elsewhere only what changed. Ends with the program.
[[noreturn]] void watch(const std::function<Result()>& result, Output output, const Console& console,
                        std::chrono::nanoseconds period);

}  // namespace penstock::cli
