#pragma once

#include <string>

namespace google::protobuf {
class Message;
}
namespace penstock::v1 {
class Policy;
}

namespace penstock::policy {

// As an operator writes it: `kind: Policy` first, fields in the order of the proto, only those that are set. parse_yaml
// reads it back to an equal policy.
std::string to_yaml(const v1::Policy& policy);
// Any other message in the same notation; every scalar that is not `optional` is shown.
std::string to_yaml(const google::protobuf::Message& message);

// Protobuf's JSON, indented; every scalar that is not `optional` is shown. On one line when `compact`.
std::string to_json(const google::protobuf::Message& message, bool compact = false);

}  // namespace penstock::policy
