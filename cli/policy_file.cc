#include "cli/policy_file.h"

#include <fstream>
#include <iostream>
#include <set>

#include "cli/failure.h"

namespace penstock::cli {
namespace {

// At most one byte more than a policy file may have.
std::string read(const std::string& file) {
  std::ifstream opened;
  if (file != "-") opened.open(file, std::ios::binary);
  std::istream& stream = file == "-" ? std::cin : opened;
  std::string text(policy::kMaxFileBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad() || (file != "-" && !opened.is_open()) || (stream.gcount() == 0 && !stream.eof()))
    throw Failure(kFailed, file + ": cannot be read");
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

}  // namespace

std::vector<PolicyInFile> read_policies(const std::vector<std::string>& files) {
  std::vector<PolicyInFile> policies;
  std::set<std::string> names;
  std::string problems;
  for (const std::string& file : files) {
    const std::string shown = file == "-" ? "stdin" : file;
    const policy::ParsedFile parsed = policy::parse_file(read(file));
    for (const policy::Problem& problem : parsed.problems)
      problems += (problems.empty() ? "" : "\n") + policy::to_string(problem, shown);
    for (const policy::Document& document : parsed.documents) {
      const std::string& name = document.policy().metadata().name();
      if (parsed.problems.empty() && !names.insert(name).second)
        problems += (problems.empty() ? "" : "\n") + shown + ": policy \"" + name + "\" is in an earlier file too";
      policies.push_back({shown, document.policy()});
    }
  }
  if (!problems.empty()) throw Failure(kInvalidPolicy, problems);
  return policies;
}

}  // namespace penstock::cli
