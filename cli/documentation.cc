#include "cli/documentation.h"

#include <google/protobuf/descriptor.pb.h>

#include <sstream>
#include <stdexcept>

#include "cli/failure.h"
#include "policy/fields.h"

// The protoset, embedded by embed.S.
extern "C" const char penstock_protoset_begin[];
extern "C" const char penstock_protoset_end[];

namespace penstock::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using policy::Notation;

// The comment in front of a declaration, without the margin.
template <typename Declaration>
std::string comment(const Declaration& declaration) {
  google::protobuf::SourceLocation location;
  if (!declaration.GetSourceLocation(&location)) return "";
  std::istringstream lines(location.leading_comments);
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(' ')) line.erase(0, 1);
    text += line + "\n";
  }
  return text;
}

std::string indented(const std::string& text, int by) {
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line);) result += std::string(by, ' ') + line + "\n";
  return result;
}

std::string type_name(const FieldDescriptor& field) {
  const auto one = [&]() -> std::string {
    switch (policy::notation(field)) {
      case Notation::text:
        return "text";
      case Notation::boolean:
        return "true or false";
      case Notation::whole:
        return "whole number";
      case Notation::real:
        return "number";
      case Notation::bytes:
        return "size (512MiB)";
      case Notation::duration:
        return "duration (250ms)";
      case Notation::timestamp:
        return "time";
      case Notation::map:
        return "names with values";
      case Notation::structure:
        return "free fields";
      case Notation::choice: {
        std::string words;
        for (const std::string& choice : policy::choices(*field.enum_type()))
          words += (words.empty() ? "" : "|") + choice;
        return words;
      }
      case Notation::message:
        return std::string(field.message_type()->name());
    }
    return "";
  };
  return field.is_repeated() && !field.is_map() ? "list of " + one() : one();
}

std::string fields(const Descriptor& message) {
  std::string text;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    text += "  " + field.json_name() + "  <" + type_name(field) + ">\n" + indented(comment(field), 6);
  }
  return text;
}

std::string choices(const EnumDescriptor& type) {
  std::string text;
  for (int i = 0; i < type.value_count(); ++i)
    if (type.value(i)->number() != 0)
      text += "  " + policy::choice_name(*type.value(i)) + "\n" + indented(comment(*type.value(i)), 6);
  return text;
}

std::string lower_camel(std::string name) {
  if (!name.empty() && name[0] >= 'A' && name[0] <= 'Z') name[0] = static_cast<char>(name[0] - 'A' + 'a');
  return name;
}

std::vector<std::string> names(const Descriptor& message) {
  std::vector<std::string> result;
  for (int i = 0; i < message.field_count(); ++i) result.push_back(message.field(i)->json_name());
  return result;
}

const Descriptor* fields_of(const FieldDescriptor& field) {
  return policy::notation(field) == Notation::message ? field.message_type() : nullptr;
}

}  // namespace

Documentation::Documentation() : pool_(new google::protobuf::DescriptorPool) {
  google::protobuf::FileDescriptorSet set;
  if (!set.ParseFromArray(penstock_protoset_begin, static_cast<int>(penstock_protoset_end - penstock_protoset_begin)))
    throw std::logic_error("the embedded declarations are damaged");
  for (const auto& file : set.file())
    if (!pool_->BuildFile(file)) throw std::logic_error("the embedded declarations are incomplete");
  for (const char* name : {"policy", "admin", "scenario"}) {
    files_.push_back(pool_->FindFileByName(std::string("penstock/v1/") + name + ".proto"));
    if (!files_.back()) throw std::logic_error(std::string("the embedded declarations lack the ") + name);
  }
}
Documentation::~Documentation() = default;

std::vector<std::string> Documentation::roots() const {
  std::vector<std::string> result;
  for (const auto* file : files_)
    for (int i = 0; i < file->message_type_count(); ++i) {
      const std::string& name = file->message_type(i)->name();
      if (!name.ends_with("Request") && !name.ends_with("Response")) result.push_back(lower_camel(name));
    }
  return result;
}

const Descriptor* Documentation::root(const std::string& name) const {
  for (const auto* file : files_)
    for (int i = 0; i < file->message_type_count(); ++i)
      if (lower_camel(file->message_type(i)->name()) == name) return file->message_type(i);
  throw Failure(kUsage, name + ": unknown resource" + policy::suggestion(name, roots()) + "; begin with policy");
}

std::string Documentation::explain(const std::string& path) const {
  std::istringstream steps(path);
  std::string step;
  std::getline(steps, step, '.');
  const Descriptor* message = root(step);
  const FieldDescriptor* field = nullptr;
  std::string at = step;
  while (std::getline(steps, step, '.')) {
    if (field) message = fields_of(*field);
    if (!message) throw Failure(kUsage, path + ": " + at + " has no fields");
    const FieldDescriptor* next = policy::find_field(*message, step);
    if (!next && message->name() == "Policy") {
      const FieldDescriptor* spec = policy::find_field(*message, "spec");
      next = policy::find_field(*spec->message_type(), step);
      if (next) at += ".spec";
    }
    if (!next)
      throw Failure(kUsage, path + ": " + at + " has no field " + step + policy::suggestion(step, names(*message)));
    field = next;
    at += "." + step;
  }
  const Descriptor* shown = field ? fields_of(*field) : message;
  std::string text = at + (field ? "  <" + type_name(*field) + ">" : "") + "\n";
  if (field) text += indented(comment(*field), 2);
  if (shown) {
    const std::string about = comment(*shown);
    text += indented(about, 2);
    if (shown->field_count() > 0) text += "\nfields\n" + fields(*shown);
  } else if (field && policy::notation(*field) == Notation::choice) {
    text += indented(comment(*field->enum_type()), 2) + "\nvalues\n" + choices(*field->enum_type());
  }
  return text;
}

}  // namespace penstock::cli
