#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

// What libFuzzer calls with each input.
#define FUZZ(text)                                                                    \
  static void fuzz(std::string_view text);                                            \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    fuzz({reinterpret_cast<const char*>(data), size});                                \
    return 0;                                                                         \
  }                                                                                   \
  static void fuzz(std::string_view text)

// Ends the run; libFuzzer keeps the input.
inline void must(bool holds) {
  if (!holds) std::abort();
}
