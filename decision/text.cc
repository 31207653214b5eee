#include "decision/text.h"

#include <cstdarg>
#include <cstdio>
#include <new>

namespace penstock::decision {

std::string format(const char* pattern, ...) noexcept {
  char text[512];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  try {
    return text;
  } catch (const std::bad_alloc&) {
    // As short as a string holds in place.
    return "no memory";
  }
}

}  // namespace penstock::decision
