#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/telemetry/unwinder.h"

namespace penstock::telemetry {

// What an address in a program's text is.
struct Symbol {
  // Demangled; empty when no symbol table names it.
  std::string function;
  // From debug information; empty when there is none.
  std::string file;
  int line = 0;
  // The name of the executable or the library, without its folders.
  std::string object;

  // "function file:line", or "0x7f00 in libfoo.so".
  std::string text(Address at) const;
};

// Names addresses of this process, from the symbol tables and the debug information of the files that it runs. Slow the
// first time (it reads those files): never on a scheduler's thread. Thread-safe.
class Symbolizer {
 public:
  static Symbolizer& instance();

  Symbol find(Address at);

 private:
  Symbolizer();
  struct State;
  std::unique_ptr<State> state_;
};

// The name of the function at that address, as a linker mangles it; empty: not known. Reads the object's file anew and
// allocates nothing: async-signal-safe.
struct MangledName {
  char name[256] = "";
  char object[128] = "";
};
MangledName find_mangled_name(Address at) noexcept;

}  // namespace penstock::telemetry
