#include "runtime/grpc/retry_info.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace penstock::grpc {
namespace {

// Longer than any caller waits; and no sum with a clock overflows.
constexpr std::int64_t kLongest = 7 * 24 * 3600;

// The few bytes of protobuf that are needed; protobuf itself is not linked for them.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;
  std::string_view bytes;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}

  // The next field; unset at the end, and where the bytes are malformed.
  std::optional<Field> next() {
    const auto key = varint();
    if (!key) return std::nullopt;
    Field field{.number = *key >> 3};
    switch (*key & 7) {
      case 0: {
        const auto value = varint();
        if (!value) return std::nullopt;
        field.value = *value;
        return field;
      }
      case 1:
        return take(8) ? std::optional(field) : std::nullopt;
      case 2: {
        const auto size = varint();
        const auto bytes = size ? take(*size) : std::nullopt;
        if (!bytes) return std::nullopt;
        field.bytes = *bytes;
        return field;
      }
      case 5:
        return take(4) ? std::optional(field) : std::nullopt;
      default:
        return std::nullopt;
    }
  }

 private:
  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64 && !left_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(left_.front());
      left_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return std::nullopt;
  }
  std::optional<std::string_view> take(std::uint64_t size) {
    if (size > left_.size()) return std::nullopt;
    const std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return bytes;
  }

  std::string_view left_;
};

std::optional<Field> find(std::string_view message, std::uint64_t number) {
  Reader reader(message);
  while (auto field = reader.next()) {
    if (field->number == number) return field;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Duration> retry_delay(std::string_view status) {
  Reader reader(status);
  while (const auto detail = reader.next()) {
    if (detail->number != 3) continue;
    const auto type = find(detail->bytes, 1);
    if (!type || !type->bytes.ends_with("/google.rpc.RetryInfo")) continue;
    const auto info = find(detail->bytes, 2);
    const auto delay = info ? find(info->bytes, 1) : std::nullopt;
    if (!delay) return std::nullopt;
    const auto seconds = find(delay->bytes, 1);
    const auto nanos = find(delay->bytes, 2);
    const auto s = static_cast<std::int64_t>(seconds ? seconds->value : 0);
    const auto ns = static_cast<std::int64_t>(nanos ? nanos->value : 0);
    if (s < 0 || ns < 0 || ns > 999'999'999) return std::nullopt;
    return std::min<Duration>(std::chrono::seconds(std::min(s, kLongest)) + std::chrono::nanoseconds(ns),
                              std::chrono::seconds(kLongest));
  }
  return std::nullopt;
}

}  // namespace penstock::grpc
