#include "runtime/http/request_head.h"

#include <cstring>

#include "runtime/http/message.h"

namespace penstock::http {

namespace {

// Of a value that is not in the text: its place is counted from the text's end.
constexpr std::uint32_t kUnfolded = std::uint32_t{1} << 31;

}  // namespace

void RequestHead::Draft::begin(const char* begin, std::string_view method, std::string_view target) {
  fields.clear();
  unfolded.clear();
  text = {begin, 0};
  method_size = static_cast<std::uint32_t>(method.size());
  target_size = static_cast<std::uint32_t>(target.size());
}

void RequestHead::Draft::add(std::string_view name, std::string_view value, bool folded) {
  const auto place = [&](const char* at) { return static_cast<std::uint32_t>(at - text.data()); };
  std::uint32_t value_at;
  if (folded) {
    value_at = static_cast<std::uint32_t>(unfolded.size()) | kUnfolded;
    unfolded += value;
  } else {
    value_at = place(value.data());
  }
  fields.push_back({place(name.data()), static_cast<std::uint32_t>(name.size()), value_at,
                    static_cast<std::uint32_t>(value.size())});
}

RequestHead::RequestHead(const Draft& draft)
    : count_(static_cast<std::uint32_t>(draft.fields.size())),
      method_size_(draft.method_size),
      target_size_(draft.target_size) {
  const std::size_t of_fields = draft.fields.size() * sizeof(Draft::Field);
  block_.reset(new std::byte[of_fields + draft.text.size() + draft.unfolded.size()]);
  auto* const text = reinterpret_cast<char*>(block_.get() + of_fields);
  // A thread's first request may have no fields, and no memory for them.
  if (of_fields != 0) std::memcpy(block_.get(), draft.fields.data(), of_fields);
  std::memcpy(text, draft.text.data(), draft.text.size());
  text_ = text;
  if (draft.unfolded.empty()) return;
  draft.unfolded.copy(text + draft.text.size(), draft.unfolded.size());
  auto* const fields = reinterpret_cast<Draft::Field*>(block_.get());
  for (std::uint32_t i = 0; i < count_; ++i) {
    if ((fields[i].value & kUnfolded) == 0) continue;
    fields[i].value = (fields[i].value & ~kUnfolded) + static_cast<std::uint32_t>(draft.text.size());
  }
}

std::string_view RequestHead::find(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    if (same_token(this->name(i), name)) return value(i);
  }
  return {};
}

}  // namespace penstock::http
