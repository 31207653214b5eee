#include "policy/yaml.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
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
#include "policy/validate.h"
#include "policy/yaml_tree.h"

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

}  // namespace

// Walks a YAML tree beside a message descriptor. Paths have proto names; they become YAML names when shown.
class Reader {
 public:
  Reader(const YamlNode& root, Document& out, std::vector<Problem>& problems)
      : root_(root), out_(out), problems_(problems) {}

  void read() {
    out_.start_ = root_.position;
    if (root_.kind != Kind::mapping) {
      problem(root_.position, "",
              "expected a policy with the fields kind, metadata and spec, found " + describe(root_));
      return;
    }
    const YamlNode* kind = nullptr;
    for (std::size_t i = 0; i + 1 < root_.children.size(); i += 2)
      if (root_.children[i].text == "kind") kind = &root_.children[i + 1];
    if (!kind) {
      problem(root_.position, "kind", "is required: \"kind: Policy\"");
    } else if (kind->kind != Kind::scalar || kind->text != "Policy") {
      problem(kind->position, "kind", "expected Policy, found " + describe(*kind));
    }
    message(root_, out_.policy_, "");
  }

 private:
  void problem(Position position, std::string_view proto_path, std::string message) {
    problems_.push_back({position, short_path(yaml_path(*v1::Policy::descriptor(), proto_path)), std::move(message)});
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
      out_.positions_.emplace(at, value.kind == Kind::null ? key.position : value.position);
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
    problems_.push_back({key.position,
                         short_path(join_path(yaml_path(*v1::Policy::descriptor(), path), key.text.substr(0, 60))),
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
        out_.positions_.emplace(at, node.children[i].position);
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
  Document& out_;
  std::vector<Problem>& problems_;
};

Problem Document::locate(const errors::Violation& violation) const {
  Position position = start_;
  for (std::string_view path = violation.field; !path.empty();) {
    if (auto found = positions_.find(path); found != positions_.end()) {
      position = found->second;
      break;
    }
    const std::size_t end = path.find_last_of(".[");
    path = path.substr(0, end == std::string_view::npos ? 0 : end);
  }
  return {position, short_path(yaml_path(*v1::Policy::descriptor(), violation.field)), violation.message};
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
    Reader(root, document, file.problems).read();
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
