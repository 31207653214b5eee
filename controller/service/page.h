#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace penstock::controller {

// Where a list goes on. Tokens are opaque to callers and hold for one list with one filter.
class Page {
 public:
  // `list` names the list and its filter. ARGUMENT_INVALID for a size out of range, PAGE_TOKEN_INVALID for a token of
  // something else.
  static absl::StatusOr<Page> read(std::string_view list, std::int32_t page_size, const std::string& page_token);

  int size() const { return size_; }
  // What next() was given; empty on the first page.
  const std::string& cursor() const { return cursor_; }
  std::string next(std::string_view cursor) const;

 private:
  int size_ = 0;
  std::string list_;
  std::string cursor_;
};

}  // namespace penstock::controller
