// main-on-fiber [--plain] LIBRARY ARGS: calls the main() of a program that was built as a shared library, on a fiber,
// or, to compare, on the plain thread. Its calls of the C library are interposed in both cases.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "penstock/runtime.h"

int main(int argc, char** argv) {
  const bool plain = argc > 1 && std::strcmp(argv[1], "--plain") == 0;
  argv += plain ? 2 : 1;
  argc -= plain ? 2 : 1;
  if (argc < 1) return 2;
  void* library = ::dlopen(argv[0], RTLD_NOW | RTLD_GLOBAL);
  auto* const entry = library != nullptr ? reinterpret_cast<int (*)(int, char**)>(::dlsym(library, "main")) : nullptr;
  if (entry == nullptr) {
    std::fprintf(stderr, "%s\n", ::dlerror());
    return 2;
  }
  if (plain) return entry(argc, argv);
  int result = 2;
  penstock::Runtime runtime({.service = "main", .threads = 1, .stack_bytes = 1 << 20});
  runtime.spawn("main", [&] { result = entry(argc, argv); }).join();
  return result;
}
