#include <cstdlib>

#include "cli/session.h"

int main(int argc, char** argv) {
  // What goes wrong is told by this program, not by the log of its libraries.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  return penstock::cli::run({argv + 1, argv + argc}, penstock::cli::standard_console());
}
