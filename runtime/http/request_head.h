#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::http {

// The request line and the header fields of one request, in one piece of memory: the text as it came, and where its
// parts are.
class RequestHead {
 public:
  // Where the parts of a head lie, until they are copied; kept per thread, so that its memory is there already.
  struct Draft {
    struct Field {
      std::uint32_t name, name_size, value, value_size;
    };
    std::vector<Field> fields;
    std::string_view text;
    // Values that were not in one line.
    std::string unfolded;
    std::uint32_t method_size = 0;
    std::uint32_t target_size = 0;

    // Of the text that begins there, with the method.
    void begin(const char* text, std::string_view method, std::string_view target);
    // `folded`: the value is not in the text.
    void add(std::string_view name, std::string_view value, bool folded);
    void end(const char* end_of_text) { text = {text.data(), static_cast<std::size_t>(end_of_text - text.data())}; }
  };

  RequestHead() = default;
  explicit RequestHead(const Draft& draft);

  std::string_view method() const noexcept { return {text_, method_size_}; }
  std::string_view target() const noexcept { return {text_ + method_size_ + 1, target_size_}; }

  std::size_t size() const noexcept { return count_; }
  std::string_view name(std::size_t i) const noexcept { return {text_ + fields()[i].name, fields()[i].name_size}; }
  std::string_view value(std::size_t i) const noexcept { return {text_ + fields()[i].value, fields()[i].value_size}; }
  // Of the first field of that name, without regard to case; empty: none.
  std::string_view find(std::string_view name) const noexcept;

 private:
  const Draft::Field* fields() const noexcept { return reinterpret_cast<const Draft::Field*>(block_.get()); }

  // The fields, then the text, then what was unfolded.
  std::unique_ptr<std::byte[]> block_;
  const char* text_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t method_size_ = 0;
  std::uint32_t target_size_ = 0;
};

}  // namespace penstock::http
