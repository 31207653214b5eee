#include "policy/fields.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/ascii.h"
#include "policy/text.h"

namespace penstock::policy {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

Notation notation(const FieldDescriptor& field) {
  if (field.is_map()) return Notation::map;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return Notation::boolean;
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return Notation::real;
    case FieldDescriptor::CPPTYPE_STRING:
      return Notation::text;
    case FieldDescriptor::CPPTYPE_ENUM:
      return Notation::choice;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (field.message_type()->full_name() == "google.protobuf.Duration") return Notation::duration;
      if (field.message_type()->full_name() == "google.protobuf.Timestamp") return Notation::timestamp;
      if (field.message_type()->full_name() == "google.protobuf.Struct") return Notation::structure;
      return Notation::message;
    default:
      return field.name().ends_with("_bytes") ? Notation::bytes : Notation::whole;
  }
}

const FieldDescriptor* find_field(const Descriptor& message, std::string_view yaml_name) {
  for (int i = 0; i < message.field_count(); ++i)
    if (message.field(i)->json_name() == yaml_name) return message.field(i);
  return nullptr;
}

std::string choice_name(const EnumValueDescriptor& value) {
  // Values are named TYPE_NAME_LAST_WORDS, with the type's words in snake case; a nested type may drop its own name.
  std::string prefix;
  for (const char c : value.type()->name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  std::string_view rest(value.name());
  if (rest.starts_with(prefix + "_")) rest.remove_prefix(prefix.size() + 1);
  std::string name;
  bool upper = false;
  for (const char c : rest) {
    if (c == '_') {
      upper = true;
      continue;
    }
    name += upper ? c : absl::ascii_tolower(c);
    upper = false;
  }
  return name;
}

std::vector<std::string> choices(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i)
    if (type.value(i)->number() != 0) names.push_back(choice_name(*type.value(i)));
  return names;
}

const EnumValueDescriptor* find_choice(const EnumDescriptor& type, std::string_view name) {
  for (int i = 0; i < type.value_count(); ++i)
    if (type.value(i)->number() != 0 && choice_name(*type.value(i)) == name) return type.value(i);
  return nullptr;
}

std::string yaml_path(const Descriptor& root, std::string_view proto_path) {
  const Descriptor* message = &root;
  std::string path;
  for (std::string_view rest = proto_path; !rest.empty();) {
    const std::string_view step = rest.substr(0, rest.find('.'));
    rest.remove_prefix(std::min(step.size() + 1, rest.size()));
    const std::size_t bracket = std::min(step.find('['), step.size());
    const FieldDescriptor* field = message ? message->FindFieldByName(std::string(step.substr(0, bracket))) : nullptr;
    if (!path.empty()) path += '.';
    append(path, field ? std::string_view(field->json_name()) : step.substr(0, bracket), step.substr(bracket));
    message = field ? field->message_type() : nullptr;
  }
  return path;
}

std::string short_path(std::string_view path) {
  const std::size_t last = path.rfind('.');
  if (last == std::string_view::npos || last == 0) return std::string(path);
  const std::size_t previous = path.rfind('.', last - 1);
  return std::string(previous == std::string_view::npos ? path : path.substr(previous + 1));
}

std::string suggestion(std::string_view name, const std::vector<std::string>& known) {
  if (name.size() > 64) return "";
  std::string_view best;
  std::size_t nearest = std::max<std::size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(lower_case(name), lower_case(candidate));
    if (distance < nearest) {
      nearest = distance;
      best = candidate;
    }
  }
  return best.empty() ? "" : cat(" (did you mean ", best, "?)");
}

}  // namespace penstock::policy
