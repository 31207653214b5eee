#pragma once

#include <string>

namespace penstock::decision {

// printf into a string, for the sentences of reasons and steps; at most some 500 characters.
__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...);

}  // namespace penstock::decision
