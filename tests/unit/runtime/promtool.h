#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace penstock {

inline bool promtool_installed() { return std::system("command -v promtool > /dev/null") == 0; }

// What `promtool check metrics` has to say of a page of metrics; empty when all is well.
inline std::string promtool_says(const std::string& text) {
  char name[] = "/tmp/penstock-metrics-XXXXXX";
  const int fd = ::mkstemp(name);
  if (fd < 0) return "no temporary file";
  ::close(fd);
  std::ofstream(name) << text;
  std::string said;
  if (FILE* promtool = ::popen(("promtool check metrics 2>&1 < " + std::string(name)).c_str(), "r")) {
    for (int c; (c = std::fgetc(promtool)) != EOF;) said += static_cast<char>(c);
    if (::pclose(promtool) != 0 && said.empty()) said = "promtool failed";
  } else {
    said = "promtool could not be started";
  }
  ::unlink(name);
  return said;
}

}  // namespace penstock
