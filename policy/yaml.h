#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "penstock/v1/policy.pb.h"
#include "proto/errors/error.h"

// Policies as operators write them. Names are the lowerCamelCase ones of the proto, durations "250ms", sizes "2GiB",
// enums by their last words ("codel", "newestFirst"). Nothing is coerced: a quoted number is no number and an unquoted
// one is no text. Anchors, aliases, tags and duplicate keys are refused.
namespace penstock::policy {

inline constexpr std::size_t kMaxFileBytes = 1 << 20;

// Counted from 1; 0 when it concerns the file as a whole.
struct Position {
  int line = 0;
  int column = 0;
  bool operator==(const Position&) const = default;
};

// One thing wrong in a file.
struct Problem {
  Position position;
  // The last two steps of the path by YAML names: "breaker.slowCal". Empty: the file's form.
  std::string field;
  std::string message;
  bool operator==(const Problem&) const = default;
};

// "shop.yaml:12:9: breaker.slowCal: unknown field (did you mean slowCall?)"
std::string to_string(const Problem& problem, std::string_view file_name);

struct ParsedFile;

// One policy and where in the file its fields stand.
class Document {
 public:
  const v1::Policy& policy() const { return policy_; }
  // What a violation (by proto names) means in this file; a field that is not written stands where its parent does.
  Problem locate(const errors::Violation& violation) const;

 private:
  friend ParsedFile parse_file(std::string_view text);
  v1::Policy policy_;
  std::map<std::string, Position, std::less<>> positions_;
};

struct ParsedFile {
  // Every document of the file, also those with problems.
  std::vector<Document> documents;
  // In the order of the file; empty iff every policy is valid (validate.h).
  std::vector<Problem> problems;
};

// Never throws on any text.
ParsedFile parse_file(std::string_view text);

// All problems, a line each, in the message of one POLICY_INVALID.
absl::StatusOr<std::vector<v1::Policy>> parse_yaml(std::string_view text, std::string_view file_name);

// The one policy of a file; refuses a file that holds several.
absl::StatusOr<v1::Policy> load_policy(const std::string& path);

}  // namespace penstock::policy
