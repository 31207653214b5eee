#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "policy/yaml.h"
#include "policy/yaml_tree.h"
#include "proto/errors/error.h"

namespace google::protobuf {
class Descriptor;
class Message;
}  // namespace google::protobuf

// Messages as people write them in YAML: policies, and what else is declared in proto/.
namespace penstock::policy {

// Where the fields of a message stand, by their paths in proto names; under "" the message itself.
using Positions = std::map<std::string, Position, std::less<>>;

// Fills `out` from a document whose "kind" is the name of its message. `expected_fields` completes "expected ..., found
// a list" where there are no fields at all.
void read_message(const YamlNode& root, std::string_view expected_fields, google::protobuf::Message& out,
                  Positions& positions, std::vector<Problem>& problems);

// What a violation (by proto names) means in the file; a field that is not written stands where its parent does.
Problem locate(const errors::Violation& violation, const Positions& positions,
               const google::protobuf::Descriptor& type);

}  // namespace penstock::policy
