#pragma once

#include <errno.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <new>

namespace penstock::interpose {

inline std::size_t size_of(const iovec* parts, int count) noexcept {
  std::size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  return size;
}

// What of them follows the first `done` bytes.
class IoParts {
 public:
  IoParts(const iovec* parts, int count, std::size_t done) noexcept {
    while (count > 0 && done >= parts->iov_len) {
      done -= parts->iov_len;
      ++parts;
      --count;
    }
    count_ = count;
    if (count > kInline) {
      more_.reset(new (std::nothrow) iovec[static_cast<std::size_t>(count)]);
      if (more_ == nullptr) {
        errno = ENOMEM;
        count_ = -1;
        return;
      }
    }
    for (int i = 0; i < count; ++i) this->parts()[i] = parts[i];
    if (count > 0) {
      this->parts()->iov_base = static_cast<char*>(this->parts()->iov_base) + done;
      this->parts()->iov_len -= done;
    }
  }

  // False: no memory, and errno is set.
  explicit operator bool() const noexcept { return count_ >= 0; }
  iovec* parts() noexcept { return more_ != nullptr ? more_.get() : inline_; }
  int count() const noexcept { return count_; }

 private:
  static constexpr int kInline = 8;
  iovec inline_[kInline];
  std::unique_ptr<iovec[]> more_;
  int count_;
};

}  // namespace penstock::interpose
