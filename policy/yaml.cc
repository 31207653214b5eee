#include "policy/yaml.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "policy/text.h"
#include "policy/validate.h"
#include "policy/yaml_message.h"
#include "policy/yaml_tree.h"

namespace penstock::policy {

using Kind = YamlNode::Kind;

Problem Document::locate(const errors::Violation& violation) const {
  return policy::locate(violation, positions_, *v1::Policy::descriptor());
}

std::string to_string(const Problem& problem, std::string_view file_name) {
  std::string text(file_name);
  if (problem.position.line > 0) append(text, ":", problem.position.line, ":", problem.position.column);
  if (!problem.field.empty()) append(text, ": ", problem.field);
  return cat(text, ": ", problem.message);
}

ParsedFile parse_file(std::string_view text) {
  ParsedFile file;
  YamlText yaml = read_yaml(text);
  const bool malformed = !yaml.problems.empty();
  file.problems = std::move(yaml.problems);
  std::set<std::string> names;
  for (const YamlNode& root : yaml.documents) {
    if (root.kind == Kind::null) continue;
    Document document;
    const std::size_t before = file.problems.size();
    read_message(root, "a policy with the fields kind, metadata and spec", document.policy_, document.positions_,
                 file.problems);
    const bool readable = file.problems.size() == before;
    if (readable && !malformed)
      for (const errors::Violation& violation : validate(document.policy()))
        file.problems.push_back(document.locate(violation));
    const std::string& name = document.policy().metadata().name();
    if (!name.empty() && !names.insert(name).second)
      file.problems.push_back(document.locate({"metadata.name", "an earlier policy of this file has the same name"}));
    file.documents.push_back(std::move(document));
  }
  if (file.documents.empty() && file.problems.empty()) file.problems.push_back({{}, "", "holds no policy"});
  std::ranges::stable_sort(file.problems, [](const Problem& a, const Problem& b) {
    return std::pair(a.position.line, a.position.column) < std::pair(b.position.line, b.position.column);
  });
  return file;
}

absl::StatusOr<std::vector<v1::Policy>> parse_yaml(std::string_view text, std::string_view file_name) {
  const ParsedFile file = parse_file(text);
  std::vector<v1::Policy> policies;
  for (const Document& document : file.documents) policies.push_back(document.policy());
  if (file.problems.empty()) return policies;
  errors::Error error{.reason = errors::Reason::policy_invalid};
  for (const Problem& problem : file.problems) {
    append(error.message, error.message.empty() ? "" : "\n", to_string(problem, file_name));
    error.violations.push_back({problem.field, problem.message});
  }
  return errors::to_absl(error);
}

absl::StatusOr<v1::Policy> load_policy(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return absl::NotFoundError(path + ": cannot be read");
  std::string text(kMaxFileBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return absl::NotFoundError(path + ": cannot be read");
  text.resize(static_cast<std::size_t>(stream.gcount()));
  auto policies = parse_yaml(text, path);
  if (!policies.ok()) return policies.status();
  if (policies->size() != 1)
    return errors::to_absl({.reason = errors::Reason::policy_invalid,
                            .message = cat(path, ": holds ", policies->size(), " policies, expected one")});
  return std::move(policies->front());
}

}  // namespace penstock::policy
