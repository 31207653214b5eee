#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "cli/session.h"

namespace penstock::cli {

// One run of the program in this process, with what it wrote.
struct Invocation {
  int exit_code;
  std::string out;
  std::string err;
};

inline Invocation invoke(std::vector<std::string> arguments) {
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = run(std::move(arguments), Console{out, err});
  return {exit_code, out.str(), err.str()};
}

}  // namespace penstock::cli
