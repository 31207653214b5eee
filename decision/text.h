#pragma once

#include <string>

namespace penstock::decision {

// printf into a string, for the sentences of reasons and steps; at most some 500 characters. "no memory" when there is
// none for them: decisions do not fail for want of words.
__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...) noexcept;

}  // namespace penstock::decision
