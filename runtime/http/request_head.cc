#include "runtime/http/request_head.h"

#include <cstring>

#include "runtime/http/message.h"

namespace penstock::http {

void RequestHead::Draft::begin(std::string_view method, std::string_view target) {
  fields.clear();
  text.assign(method);
  text += target;
  method_size = static_cast<std::uint32_t>(method.size());
  target_size = static_cast<std::uint32_t>(target.size());
}

void RequestHead::Draft::add(std::string_view name, std::string_view value) {
  const auto at = static_cast<std::uint32_t>(text.size());
  const auto name_size = static_cast<std::uint32_t>(name.size());
  fields.push_back({at, name_size, at + name_size, static_cast<std::uint32_t>(value.size())});
  text += name;
  text += value;
}

RequestHead::RequestHead(const Draft& draft)
    : count_(static_cast<std::uint32_t>(draft.fields.size())),
      method_size_(draft.method_size),
      target_size_(draft.target_size) {
  const std::size_t of_fields = draft.fields.size() * sizeof(Draft::Field);
  block_.reset(new std::byte[of_fields + draft.text.size()]);
  // A thread's first request may have no fields, and no memory for them.
  if (of_fields != 0) std::memcpy(block_.get(), draft.fields.data(), of_fields);
  std::memcpy(block_.get() + of_fields, draft.text.data(), draft.text.size());
  text_ = reinterpret_cast<const char*>(block_.get() + of_fields);
}

std::string_view RequestHead::find(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    if (same_token(this->name(i), name)) return value(i);
  }
  return {};
}

}  // namespace penstock::http
