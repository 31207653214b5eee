#pragma once

#include <string>

namespace penstock::run {

// The file that would be executed, as execvp() finds it. Throws std::system_error.
std::string find_program(const std::string& name);

// Why the threads of that program cannot become fibers, as a sentence; empty: nothing is known against it. Follows the
// interpreters that scripts name.
std::string objection_to(const std::string& path);

}  // namespace penstock::run
