#include "policy/print.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>

#include <charconv>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "penstock/v1/policy.pb.h"
#include "policy/convert.h"
#include "policy/fields.h"
#include "policy/plain.h"
#include "policy/text.h"
#include "policy/units.h"

namespace penstock::policy {
namespace {

using google::protobuf::Message;
using google::protobuf::Reflection;

// Whether every YAML reader takes it for the same text without quotes.
bool is_plain_text(std::string_view text) {
  if (text.empty() || is_number(text) || is_boolean(text)) return false;
  if (lower_case(text) == "null" || text == "~") return false;
  if (!absl::ascii_isalnum(text[0]) && text[0] != '/' && text[0] != '_') return false;
  // Digits first: a date or a base-60 number to some readers.
  if (absl::ascii_isdigit(text[0])) return false;
  for (const char c : text)
    if (!absl::ascii_isalnum(c) && std::string_view("-_./+@=").find(c) == std::string_view::npos) return false;
  return true;
}

std::string control(char c) {
  constexpr char kHex[] = "0123456789abcdef";
  const auto code = static_cast<unsigned char>(c);
  return {'\\', 'x', kHex[code >> 4], kHex[code & 15]};
}

std::string scalar(std::string_view text) {
  if (is_plain_text(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += control(c);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string number(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, end.ptr);
}

class Emitter {
 public:
  // all: also scalars without presence that have their zero value.
  explicit Emitter(bool all) : all_(all) {}

  void message(const Message& message, int indent) {
    const Descriptor& type = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (field.is_repeated()) {
        if (reflection.FieldSize(message, &field) > 0) repeated(message, field, indent);
        continue;
      }
      const bool shown =
          field.has_presence() ? reflection.HasField(message, &field) : all_ || reflection.HasField(message, &field);
      if (!shown) continue;
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM && reflection.GetEnum(message, &field)->number() == 0)
        continue;
      key(field.json_name(), indent);
      value(message, field, -1, indent);
    }
  }

  std::string take() { return std::move(out_); }
  void key(std::string_view name, int indent) {
    if (!inline_) out_.append(indent, ' ');
    inline_ = false;
    append(out_, name, ":");
  }
  void text(std::string_view rest) { append(out_, " ", rest, "\n"); }

 private:
  void repeated(const Message& message, const FieldDescriptor& field, int indent) {
    const Reflection& reflection = *message.GetReflection();
    key(field.json_name(), indent);
    if (field.is_map()) {
      out_ += '\n';
      map(message, field, indent + 2);
      return;
    }
    const int size = reflection.FieldSize(message, &field);
    if (notation(field) != Notation::message) {
      out_ += '\n';
      for (int i = 0; i < size; ++i) {
        out_.append(indent + 2, ' ');
        out_ += '-';
        value(message, field, i, indent + 2);
      }
      return;
    }
    out_ += '\n';
    for (int i = 0; i < size; ++i) {
      out_.append(indent + 2, ' ');
      out_ += "- ";
      inline_ = true;
      this->message(reflection.GetRepeatedMessage(message, &field, i), indent + 4);
      if (inline_) out_ += "{}\n";
      inline_ = false;
    }
  }

  void map(const Message& message, const FieldDescriptor& field, int indent) {
    const Reflection& reflection = *message.GetReflection();
    const Descriptor& type = *field.message_type();
    std::map<std::string, const Message*> sorted;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      sorted[entry.GetReflection()->GetString(entry, type.map_key())] = &entry;
    }
    for (const auto& [name, entry] : sorted) {
      key(scalar(name), indent);
      value(*entry, *type.map_value(), -1, indent);
    }
  }

  // The rest of the line after "key:" or "-", or the lines below it. index < 0: not repeated.
  void value(const Message& message, const FieldDescriptor& field, int index, int indent) {
    const Reflection& reflection = *message.GetReflection();
    const auto sub = [&]() -> const Message& {
      return index < 0 ? reflection.GetMessage(message, &field) : reflection.GetRepeatedMessage(message, &field, index);
    };
    switch (notation(field)) {
      case Notation::text:
        return text(scalar(index < 0 ? reflection.GetString(message, &field)
                                     : reflection.GetRepeatedString(message, &field, index)));
      case Notation::boolean:
        return text(reflection.GetBool(message, &field) ? "true" : "false");
      case Notation::real:
        return text(number(reflection.GetDouble(message, &field)));
      case Notation::choice:
        return text(choice_name(*reflection.GetEnum(message, &field)));
      case Notation::whole:
      case Notation::bytes:
        return text(whole(message, field));
      case Notation::duration: {
        google::protobuf::Duration duration;
        duration.CopyFrom(sub());
        return text(format_duration(to_chrono(duration)));
      }
      case Notation::timestamp: {
        google::protobuf::Timestamp time;
        time.CopyFrom(sub());
        return text(google::protobuf::util::TimeUtil::ToString(time));
      }
      case Notation::structure: {
        google::protobuf::Struct content;
        content.CopyFrom(sub());
        if (content.fields().empty()) return text("{}");
        out_ += '\n';
        return structure(content, indent + 2);
      }
      case Notation::message:
      case Notation::map: {
        const std::size_t before = ++out_.insert(out_.end(), '\n') - out_.begin();
        this->message(sub(), indent + 2);
        if (out_.size() == before) {
          out_.pop_back();
          text("{}");
        }
        return;
      }
    }
  }

  static std::string whole(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return cat(reflection.GetInt32(message, &field));
      case FieldDescriptor::CPPTYPE_UINT32:
        return cat(reflection.GetUInt32(message, &field));
      case FieldDescriptor::CPPTYPE_UINT64:
        return notation(field) == Notation::bytes
                   ? format_bytes(static_cast<std::int64_t>(reflection.GetUInt64(message, &field)))
                   : cat(reflection.GetUInt64(message, &field));
      default: {
        const std::int64_t value = reflection.GetInt64(message, &field);
        return notation(field) == Notation::bytes ? format_bytes(value) : cat(value);
      }
    }
  }

  void structure(const google::protobuf::Struct& content, int indent) {
    std::map<std::string, const google::protobuf::Value*> sorted;
    for (const auto& [name, value] : content.fields()) sorted[name] = &value;
    for (const auto& [name, value] : sorted) {
      key(scalar(name), indent);
      structure_value(*value, indent);
    }
  }

  void structure_value(const google::protobuf::Value& value, int indent) {
    switch (value.kind_case()) {
      case google::protobuf::Value::kNumberValue:
        return text(number(value.number_value()));
      case google::protobuf::Value::kStringValue:
        return text(scalar(value.string_value()));
      case google::protobuf::Value::kBoolValue:
        return text(value.bool_value() ? "true" : "false");
      case google::protobuf::Value::kStructValue:
        if (value.struct_value().fields().empty()) return text("{}");
        out_ += '\n';
        return structure(value.struct_value(), indent + 2);
      case google::protobuf::Value::kListValue:
        if (value.list_value().values().empty()) return text("[]");
        out_ += '\n';
        for (const auto& entry : value.list_value().values()) {
          out_.append(indent + 2, ' ');
          out_ += '-';
          structure_value(entry, indent + 2);
        }
        return;
      default:
        return text("null");
    }
  }

  const bool all_;
  std::string out_;
  // The next key stands behind "- ".
  bool inline_ = false;
};

}  // namespace

std::string to_yaml(const v1::Policy& policy) {
  Emitter emitter(false);
  emitter.key("kind", 0);
  emitter.text("Policy");
  emitter.message(policy, 0);
  return emitter.take();
}

std::string to_yaml(const Message& message) {
  Emitter emitter(true);
  emitter.message(message, 0);
  return emitter.take();
}

std::string to_json(const Message& message, bool compact) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !compact;
  options.always_print_primitive_fields = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return "{}";
  if (compact) text += '\n';
  return text;
}

}  // namespace penstock::policy
