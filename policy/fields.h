#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <string_view>
#include <vector>

// How the fields of a message are named and written in YAML.
namespace penstock::policy {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;

// What a field holds, as far as its notation is concerned.
enum class Notation { text, boolean, whole, real, bytes, duration, timestamp, choice, message, map, structure };
// Of one element, when the field is repeated.
Notation notation(const FieldDescriptor& field);

// By its YAML name; null when there is none.
const FieldDescriptor* find_field(const Descriptor& message, std::string_view yaml_name);

// "newestFirst" for QUEUE_DISCIPLINE_NEWEST_FIRST.
std::string choice_name(const EnumValueDescriptor& value);
// Without the unspecified one.
std::vector<std::string> choices(const EnumDescriptor& type);
// Null when there is none.
const EnumValueDescriptor* find_choice(const EnumDescriptor& type, std::string_view name);

// "spec.upstreams[0].breaker.errorRatio" for "spec.upstreams[0].breaker.error_ratio", from `root` on. Steps that the
// descriptors do not know are left as they are.
std::string yaml_path(const Descriptor& root, std::string_view proto_path);
// The last two steps of a path.
std::string short_path(std::string_view path);

// " (did you mean X?)" when one of `known` is near to `name`, else "".
std::string suggestion(std::string_view name, const std::vector<std::string>& known);

}  // namespace penstock::policy
