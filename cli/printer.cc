#include "cli/printer.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <iterator>
#include <thread>

#include "cli/failure.h"
#include "policy/print.h"

namespace penstock::cli {
namespace {

std::string yaml(const Result& result) {
  if (result.documents.empty()) return policy::to_yaml(*result.message);
  std::string text;
  for (const std::string& document : result.documents) text += (text.empty() ? "" : "---\n") + document;
  return text;
}

}  // namespace

Output parse_output(const std::string& name) {
  const auto found = std::ranges::find(kOutputs, name);
  if (found == std::end(kOutputs)) throw Failure(kUsage, "-o: unknown form " + name);
  return static_cast<Output>(found - std::begin(kOutputs));
}

void print(const Result& result, Output output, const Console& console) {
  switch (output) {
    case Output::table:
    case Output::wide:
      console.out << format(result.table, console, output == Output::wide);
      if (result.table.rows.empty() && !result.nothing.empty()) console.note(result.nothing);
      break;
    case Output::json:
      console.out << policy::to_json(*result.message);
      break;
    case Output::yaml:
      console.out << yaml(result);
      break;
    case Output::name:
      for (const std::string& name : result.names) console.out << name << "\n";
  }
  console.out.flush();
}

void watch(const std::function<Result()>& fetch, Output output, const Console& console,
           std::chrono::nanoseconds period) {
  const bool tabular = output == Output::table || output == Output::wide;
  Result last;
  std::string last_text;
  for (bool first = true;; first = false) {
    Result result = fetch();
    if (tabular && console.terminal) {
      console.out << "\033[H\033[2J";
      print(result, output, console);
    } else if (tabular) {
      Table changed{result.table.columns, {}};
      for (const auto& row : result.table.rows)
        if (std::ranges::find(last.table.rows, row) == last.table.rows.end()) changed.rows.push_back(row);
      console.out << format(changed, console, output == Output::wide, first || last.table.rows.empty());
    } else if (output == Output::json) {
      const std::string text = policy::to_json(*result.message, true);
      if (text != last_text) console.out << text;
      last_text = text;
    } else if (output == Output::yaml) {
      const std::string text = yaml(result);
      if (text != last_text) console.out << "---\n" << text;
      last_text = text;
    } else {
      for (const std::string& name : result.names)
        if (std::ranges::find(last.names, name) == last.names.end()) console.out << name << "\n";
    }
    console.out.flush();
    last = std::move(result);
    std::this_thread::sleep_for(period);
  }
}

}  // namespace penstock::cli
