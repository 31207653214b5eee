#include "policy/yaml_message.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>

#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "policy/convert.h"
#include "policy/fields.h"
#include "policy/plain.h"
#include "policy/text.h"
#include "policy/units.h"

namespace penstock::policy {

using google::protobuf::Message;
using google::protobuf::Reflection;
using Kind = YamlNode::Kind;

namespace {

std::string quote(std::string_view text) { return cat("\"", text.substr(0, 60), text.size() > 60 ? "..." : "", "\""); }

// What a node is, for "expected X, found Y".
std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case Kind::null:
      return "nothing";
    case Kind::sequence:
      return "a list";
    case Kind::mapping:
      return "fields";
    case Kind::scalar:
      break;
  }
  if (node.quoted) return "the text " + quote(node.text);
  if (is_number(node.text)) return "the number " + node.text.substr(0, 40);
  if (is_boolean(node.text)) return node.text;
  return quote(node.text);
}

std::string join_path(std::string_view path, std::string_view step) {
  return path.empty() ? std::string(step) : cat(path, ".", step);
}

// Walks a YAML tree beside a message descriptor. Paths have proto names; they become YAML names when shown.
class Reader {
 public:
  Reader(const YamlNode& root, Message& out, Positions& positions, std::vector<Problem>& problems)
      : root_(root), out_(out), type_(*out.GetDescriptor()), positions_(positions), problems_(problems) {}

  void read(std::string_view expected_fields) {
    if (root_.kind != Kind::mapping) {
      problem(root_.position, "", cat("expected ", expected_fields, ", found ", describe(root_)));
      return;
    }
    const YamlNode* kind = nullptr;
    for (std::size_t i = 0; i + 1 < root_.children.size(); i += 2)
      if (root_.children[i].text == "kind") kind = &root_.children[i + 1];
    if (!kind) {
      problem(root_.position, "kind", cat("is required: \"kind: ", std::string(type_.name()), "\""));
    } else if (kind->kind != Kind::scalar || kind->text != type_.name()) {
      problem(kind->position, "kind", cat("expected ", std::string(type_.name()), ", found ", describe(*kind)));
    }
    message(root_, out_, "");
  }

 private:
  void problem(Position position, std::string_view proto_path, std::string message) {
    problems_.push_back({position, short_path(yaml_path(type_, proto_path)), std::move(message)});
  }

  void expected(const YamlNode& node, const std::string& path, std::string_view what) {
    problem(node.position, path, cat("expected ", what, ", found ", describe(node)));
  }

  void message(const YamlNode& node, Message& target, const std::string& path) {
    if (node.kind != Kind::mapping) {
      expected(node, path, "fields");
      return;
    }
    const Descriptor& type = *target.GetDescriptor();
    std::set<std::string> seen;
    for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const YamlNode& key = node.children[i];
      const YamlNode& value = node.children[i + 1];
      if (key.kind != Kind::scalar) {
        expected(key, path, "the name of a field");
        continue;
      }
      if (!seen.insert(key.text).second) {
        problem(key.position, join_path(path, key.text), "is given twice");
        continue;
      }
      if (path.empty() && key.text == "kind") continue;
      const FieldDescriptor* field = find_field(type, key.text);
      if (!field) {
        unknown(key, type, path);
        continue;
      }
      const std::string at = join_path(path, field->name());
      positions_.emplace(at, value.kind == Kind::null ? key.position : value.position);
      if (value.kind == Kind::null) {
        problem(key.position, at, "has no value");
      } else {
        set(value, target, *field, at);
      }
    }
  }

  void unknown(const YamlNode& key, const Descriptor& type, const std::string& path) {
    std::vector<std::string> known;
    for (int i = 0; i < type.field_count(); ++i) known.push_back(type.field(i)->json_name());
    if (path.empty()) known.push_back("kind");
    problems_.push_back({key.position, short_path(join_path(yaml_path(type_, path), key.text.substr(0, 60))),
                         "unknown field" + suggestion(key.text, known)});
  }

  void set(const YamlNode& node, Message& target, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *target.GetReflection();
    if (field.is_map()) {
      map(node, target, field, path);
    } else if (field.is_repeated()) {
      if (node.kind != Kind::sequence) {
        expected(node, path, "a list");
        return;
      }
      for (std::size_t i = 0; i < node.children.size(); ++i) {
        const std::string at = cat(path, "[", i, "]");
        positions_.emplace(at, node.children[i].position);
        element(node.children[i], target, field, at, true);
      }
    } else if (notation(field) == Notation::message) {
      message(node, *reflection.MutableMessage(&target, &field), path);
    } else {
      element(node, target, field, path, false);
    }
  }

  void map(const YamlNode& node, Message& target, const FieldDescriptor& field, const std::string& path) {
    if (node.kind != Kind::mapping) {
      expected(node, path, "names with values");
      return;
    }
    std::set<std::string> seen;
    for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const YamlNode& key = node.children[i];
      const YamlNode& value = node.children[i + 1];
      const std::string at = join_path(path, key.text);
      if (!is_text(key)) {
        expected(key, path, "a text as name");
      } else if (!seen.insert(key.text).second) {
        problem(key.position, at, "is given twice");
      } else if (!is_text(value)) {
        expected(value, at, "a text (put it in quotes)");
      } else {
        Message* entry = target.GetReflection()->AddMessage(&target, &field);
        const Descriptor& type = *entry->GetDescriptor();
        entry->GetReflection()->SetString(entry, type.map_key(), key.text);
        entry->GetReflection()->SetString(entry, type.map_value(), value.text);
      }
    }
  }

  static bool is_text(const YamlNode& node) {
    return node.kind == Kind::scalar && (node.quoted || (!is_number(node.text) && !is_boolean(node.text)));
  }

  // A value that is not a message of fields, set or appended.
  void element(const YamlNode& node, Message& target, const FieldDescriptor& field, const std::string& path,
               bool append) {
    const Reflection& reflection = *target.GetReflection();
    const bool plain = node.kind == Kind::scalar && !node.quoted;
    const auto sub_message = [&] {
      return append ? reflection.AddMessage(&target, &field) : reflection.MutableMessage(&target, &field);
    };
    switch (notation(field)) {
      case Notation::message:
        return message(node, *sub_message(), path);
      case Notation::text:
        if (!is_text(node))
          return expected(node, path, node.kind == Kind::scalar ? "a text (put it in quotes)" : "a text");
        return append ? reflection.AddString(&target, &field, node.text)
                      : reflection.SetString(&target, &field, node.text);
      case Notation::boolean:
        if (!plain || (node.text != "true" && node.text != "false")) return expected(node, path, "true or false");
        return reflection.SetBool(&target, &field, node.text == "true");
      case Notation::real: {
        double value = 0;
        if (!plain || !is_number(node.text) || !absl::SimpleAtod(node.text, &value) || !std::isfinite(value))
          return expected(node, path, "a number");
        return reflection.SetDouble(&target, &field, value);
      }
      case Notation::whole:
        return whole(node, target, field, path);
      case Notation::bytes:
        if (!plain) return expected(node, path, "a size such as 512MiB");
        if (auto value = parse_bytes(node.text); value.ok()) {
          reflection.SetInt64(&target, &field, *value);
        } else {
          problem(node.position, path, std::string(value.status().message()));
        }
        return;
      case Notation::duration:
        if (!plain) return expected(node, path, "a duration such as 250ms, without quotes");
        if (auto value = parse_duration(node.text); value.ok()) {
          sub_message()->CopyFrom(to_proto(*value));
        } else {
          problem(node.position, path, std::string(value.status().message()));
        }
        return;
      case Notation::timestamp:
        return timestamp(node, *sub_message(), path);
      case Notation::choice: {
        const EnumValueDescriptor* value = plain ? find_choice(*field.enum_type(), node.text) : nullptr;
        if (value) return reflection.SetEnum(&target, &field, value);
        const auto names = choices(*field.enum_type());
        return problem(node.position, path,
                       cat("expected one of ", absl::StrJoin(names, ", "), ", found ", describe(node),
                           node.kind == Kind::scalar ? suggestion(node.text, names) : ""));
      }
      case Notation::map:
      case Notation::structure:
        return expected(node, path, "nothing: this field cannot be written");
    }
  }

  void whole(const YamlNode& node, Message& target, const FieldDescriptor& field, const std::string& path) {
    std::int64_t value = 0;
    if (node.kind != Kind::scalar || node.quoted || !is_whole(node.text)) return expected(node, path, "a whole number");
    const bool narrow = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32;
    if (!parse_number(node.text, value) || (narrow && (value > std::numeric_limits<std::int32_t>::max() ||
                                                       value < std::numeric_limits<std::int32_t>::min())))
      return problem(node.position, path, node.text.substr(0, 40) + " is out of range");
    if (narrow) {
      target.GetReflection()->SetInt32(&target, &field, static_cast<std::int32_t>(value));
    } else {
      target.GetReflection()->SetInt64(&target, &field, value);
    }
  }

  void timestamp(const YamlNode& node, Message& target, const std::string& path) {
    absl::Time time;
    std::string error;
    if (node.kind != Kind::scalar || !absl::ParseTime(absl::RFC3339_full, node.text, &time, &error) ||
        time < absl::UnixEpoch() || time > absl::FromUnixSeconds(253402300799))
      return expected(node, path, "a time such as 2024-05-01T12:00:00Z");
    google::protobuf::Timestamp value;
    value.set_seconds(absl::ToUnixSeconds(time));
    value.set_nanos(static_cast<std::int32_t>((time - absl::FromUnixSeconds(value.seconds())) / absl::Nanoseconds(1)));
    target.CopyFrom(value);
  }

  const YamlNode& root_;
  Message& out_;
  const Descriptor& type_;
  Positions& positions_;
  std::vector<Problem>& problems_;
};

}  // namespace

void read_message(const YamlNode& root, std::string_view expected_fields, Message& out, Positions& positions,
                  std::vector<Problem>& problems) {
  positions.emplace("", root.position);
  Reader(root, out, positions, problems).read(expected_fields);
}

Problem locate(const errors::Violation& violation, const Positions& positions, const Descriptor& type) {
  std::string_view path = violation.field;
  auto found = positions.find(path);
  while (found == positions.end() && !path.empty()) {
    const std::size_t end = path.find_last_of(".[");
    path = path.substr(0, end == std::string_view::npos ? 0 : end);
    found = positions.find(path);
  }
  const Position position = found == positions.end() ? Position{} : found->second;
  return {position, short_path(yaml_path(type, violation.field)), violation.message};
}

}  // namespace penstock::policy
