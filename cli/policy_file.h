#pragma once

#include <string>
#include <vector>

#include "policy/yaml.h"

namespace penstock::cli {

struct PolicyInFile {
  std::string file;
  v1::Policy policy;
};

// Every policy of every file; "-" is stdin. Throws Failure: all problems of all files as invalid policy, or failed when
// one cannot be read.
std::vector<PolicyInFile> read_policies(const std::vector<std::string>& files);

}  // namespace penstock::cli
