#include "controller/service/page.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "proto/errors/error.h"

namespace penstock::controller {

namespace {
constexpr int kDefaultSize = 100;
constexpr int kMaxSize = 1000;
constexpr char kSeparator = '\n';
}  // namespace

absl::StatusOr<Page> Page::read(std::string_view list, std::int32_t page_size, const std::string& page_token) {
  if (page_size < 0 || page_size > kMaxSize)
    return errors::to_absl(errors::argument_invalid("page_size", absl::StrCat("must be between 1 and ", kMaxSize)));
  Page page;
  page.size_ = page_size == 0 ? kDefaultSize : page_size;
  page.list_ = std::string(list);
  if (page_token.empty()) return page;
  std::string content;
  const std::string prefix = std::string(list) + kSeparator;
  if (!absl::WebSafeBase64Unescape(page_token, &content) || content.compare(0, prefix.size(), prefix) != 0 ||
      content.size() == prefix.size())
    return errors::to_absl(
        {.reason = errors::Reason::page_token_invalid, .message = "page_token: was not issued for this list"});
  page.cursor_ = content.substr(prefix.size());
  return page;
}

std::string Page::next(std::string_view cursor) const {
  return absl::WebSafeBase64Escape(list_ + kSeparator + std::string(cursor));
}

}  // namespace penstock::controller
