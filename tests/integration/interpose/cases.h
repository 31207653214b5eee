#pragma once

#include <stdio.h>

// Cases of the conformance suite: plain C that says what it saw. Each is run on a plain thread and on a fiber, and has
// to say the same. Nothing that is said may depend on the time or on numbers that the system gives.
#ifdef __cplusplus
extern "C" {
#endif

struct Case {
  const char* name;
  void (*run)(FILE* out);
};

// Ended by one without a name.
extern const struct Case kCases[];
extern const struct Case kMoreCases[];
extern const struct Case kIoCases[];
extern const struct Case kThreadCases[];
extern const struct Case kIpcCases[];

#ifdef __cplusplus
}
#endif
