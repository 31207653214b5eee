#include "runtime/fiber/locals.h"

#include <atomic>
#include <mutex>

#include "penstock/spin_lock.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::fiber {
namespace {

// The places in the tables that no key has any more.
struct FreePlaces {
  SpinLock lock;
  std::vector<std::size_t> free;
  std::size_t used = 0;
};

// Never destroyed: keys are static objects of whoever wants them.
FreePlaces& free_places() {
  static auto* const places = new FreePlaces;
  return *places;
}

std::size_t take_place() {
  FreePlaces& places = free_places();
  std::lock_guard guard(places.lock);
  if (places.free.empty()) {
    // So that giving it back needs no memory.
    places.free.reserve(places.used + 1);
    return places.used++;
  }
  const std::size_t index = places.free.back();
  places.free.pop_back();
  return index;
}

std::uint64_t next_id() noexcept {
  static constinit std::atomic<std::uint64_t> last{0};
  return ++last;
}

Locals& locals() noexcept {
  if (Scheduler::current() != nullptr) return current().locals;
  thread_local Locals of_thread;
  return of_thread;
}

}  // namespace

void Locals::keep(std::unique_ptr<LocalValue> value, std::size_t index, std::uint64_t id) {
  if (index >= values_.size()) values_.resize(index + 1);
  // Of a key that is gone.
  if (values_[index] != nullptr) drop(values_[index]);
  value->id_ = id;
  value->index_ = index;
  value->older_ = youngest_;
  if (youngest_ != nullptr) youngest_->newer_ = value.get();
  youngest_ = value.get();
  values_[index] = value.release();
}

void Locals::drop(LocalValue* value) noexcept {
  (value->newer_ != nullptr ? value->newer_->older_ : youngest_) = value->older_;
  if (value->older_ != nullptr) value->older_->newer_ = value->newer_;
  values_[value->index_] = nullptr;
  delete value;
}

LocalKey::LocalKey() : index_(take_place()), id_(next_id()) {}

LocalKey::~LocalKey() {
  FreePlaces& places = free_places();
  std::lock_guard guard(places.lock);
  places.free.push_back(index_);
}

LocalValue* LocalKey::find() const noexcept { return locals().find(index_, id_); }

void LocalKey::keep(std::unique_ptr<LocalValue> value) const { locals().keep(std::move(value), index_, id_); }

void LocalKey::drop() const noexcept {
  if (LocalValue* value = find()) locals().drop(value);
}

void clear_locals() noexcept { locals().clear(); }

}  // namespace penstock::fiber
