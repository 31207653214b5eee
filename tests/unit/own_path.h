#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

// A path in the directory for temporary files that no other test uses: tests run side by side, each in its process.
inline std::string own_path(const std::string& name) {
  return testing::TempDir() + "/penstock_" + std::to_string(::getpid()) + "_" + name;
}
