#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "penstock/fiber_local.h"

namespace penstock::fiber {

// The fiber-local values of one fiber or plain thread.
class Locals {
 public:
  Locals() = default;
  ~Locals() { clear(); }
  Locals(const Locals&) = delete;
  Locals& operator=(const Locals&) = delete;

  LocalValue* find(std::size_t index, std::uint64_t id) const noexcept {
    if (index >= values_.size()) return nullptr;
    LocalValue* value = values_[index];
    return value != nullptr && value->id_ == id ? value : nullptr;
  }
  void keep(std::unique_ptr<LocalValue> value, std::size_t index, std::uint64_t id);
  void drop(LocalValue* value) noexcept;
  // The youngest first, also those that the destructors of others make.
  void clear() noexcept {
    while (youngest_ != nullptr) drop(youngest_);
  }

 private:
  std::vector<LocalValue*> values_;
  LocalValue* youngest_ = nullptr;
};

// Destroys the values of the calling fiber: before its end is announced.
void clear_locals() noexcept;

}  // namespace penstock::fiber
