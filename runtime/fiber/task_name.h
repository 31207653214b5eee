#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace penstock::fiber {

// What dumps and logs call a task, cut off at some length. Allocates nothing, so that signal handlers can ask for it.
class TaskName {
 public:
  TaskName& operator+=(std::string_view more) noexcept {
    const std::size_t n = std::min(more.size(), sizeof text_ - size_);
    std::copy_n(more.data(), n, text_ + size_);
    size_ += n;
    return *this;
  }
  std::string_view view() const noexcept { return {text_, size_}; }

 private:
  char text_[120];
  std::size_t size_ = 0;
};

}  // namespace penstock::fiber
