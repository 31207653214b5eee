#pragma once

// A function that stands before the C library's of the same name, for the program and all its shared libraries. Takes
// effect on fibers; elsewhere it is the plain one. Nothing is thrown through it.
#define PENSTOCK_INTERPOSED extern "C" __attribute__((visibility("default"), used))
