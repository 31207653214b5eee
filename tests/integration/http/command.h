#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace penstock::http {

struct Said {
  int exit;
  std::string text;
};

// Runs a shell command to its end; what it wrote to both outputs.
inline Said run_command(const std::string& command) {
  Said said{-1, {}};
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return said;
  char block[4096];
  for (std::size_t got; (got = std::fread(block, 1, sizeof block, pipe)) > 0;) said.text.append(block, got);
  const int status = ::pclose(pipe);
  said.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return said;
}

}  // namespace penstock::http
