#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <new>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program_thread.h"

PENSTOCK_REAL(pthread_key_create)
PENSTOCK_REAL(pthread_key_delete)
PENSTOCK_REAL(pthread_getspecific)
PENSTOCK_REAL(pthread_setspecific)

namespace penstock::interpose {
namespace {

// The C library gives out the keys, and runs the destructors of plain threads. Ours look here.
struct Key {
  // Odd: in use.
  std::atomic<std::uint32_t> generation{0};
  std::atomic<void (*)(void*)> destroy{nullptr};
};
constinit std::array<Key, PTHREAD_KEYS_MAX> keys;

ProgramThread* caller_with_values() noexcept {
  ProgramThread* thread = ProgramThread::current();
  return thread != nullptr && thread->keeps_values() ? thread : nullptr;
}

}  // namespace

SpecificValues::~SpecificValues() {
  if (blocks_ == nullptr) return;
  for (Block* block : *blocks_) delete block;
  delete blocks_;
}

SpecificValues::Value* SpecificValues::find(pthread_key_t key) noexcept {
  if (key < kFirst) return &first_[key];
  if (key >= PTHREAD_KEYS_MAX || blocks_ == nullptr) return nullptr;
  Block* block = (*blocks_)[key / kPerBlock];
  return block != nullptr ? &(*block)[key % kPerBlock] : nullptr;
}

void* SpecificValues::get(pthread_key_t key) noexcept {
  const Value* value = find(key);
  if (value == nullptr) return nullptr;
  return value->generation == keys[key].generation.load(std::memory_order_relaxed) ? value->value : nullptr;
}

int SpecificValues::set(pthread_key_t key, const void* value) noexcept {
  if (key >= PTHREAD_KEYS_MAX) return EINVAL;
  const std::uint32_t generation = keys[key].generation.load(std::memory_order_acquire);
  if (generation % 2 == 0) return EINVAL;
  Value* place = find(key);
  if (place == nullptr) {
    if (value == nullptr) return 0;
    if (blocks_ == nullptr) blocks_ = new (std::nothrow) Blocks{};
    if (blocks_ == nullptr) return ENOMEM;
    Block*& block = (*blocks_)[key / kPerBlock];
    block = new (std::nothrow) Block{};
    if (block == nullptr) return ENOMEM;
    place = &(*block)[key % kPerBlock];
  }
  *place = {generation, const_cast<void*>(value)};
  return 0;
}

bool SpecificValues::destroy_once() noexcept {
  bool any = false;
  const auto destroy = [&any](std::size_t number, Value& value) {
    if (value.value == nullptr) return;
    const Key& key = keys[number];
    void* old = value.value;
    value.value = nullptr;
    auto* const destroyer = key.destroy.load(std::memory_order_acquire);
    if (value.generation != key.generation.load(std::memory_order_acquire) || destroyer == nullptr) return;
    any = true;
    destroyer(old);
  };
  for (std::size_t i = 0; i < kFirst; ++i) destroy(i, first_[i]);
  for (std::size_t i = 0; blocks_ != nullptr && i < blocks_->size(); ++i) {
    Block* block = (*blocks_)[i];
    for (std::size_t j = 0; block != nullptr && j < kPerBlock; ++j) destroy(i * kPerBlock + j, (*block)[j]);
  }
  return any;
}

void SpecificValues::destroy() noexcept {
  for (int i = 0; i < PTHREAD_DESTRUCTOR_ITERATIONS && destroy_once(); ++i) {
  }
}

}  // namespace penstock::interpose

using namespace penstock::interpose;

PENSTOCK_INTERPOSED int pthread_key_create(pthread_key_t* key, void (*destroy)(void*)) noexcept {
  const int error = real::pthread_key_create(key, destroy);
  if (error != 0 || *key >= PTHREAD_KEYS_MAX) return error;
  keys[*key].destroy.store(destroy, std::memory_order_relaxed);
  keys[*key].generation.fetch_add(1, std::memory_order_release);
  return 0;
}

PENSTOCK_INTERPOSED int pthread_key_delete(pthread_key_t key) noexcept {
  if (key < PTHREAD_KEYS_MAX && keys[key].generation.load(std::memory_order_relaxed) % 2 == 1) {
    keys[key].destroy.store(nullptr, std::memory_order_relaxed);
    keys[key].generation.fetch_add(1, std::memory_order_release);
  }
  return real::pthread_key_delete(key);
}

PENSTOCK_INTERPOSED void* pthread_getspecific(pthread_key_t key) noexcept {
  ProgramThread* thread = caller_with_values();
  return thread != nullptr ? thread->specific.get(key) : real::pthread_getspecific(key);
}

PENSTOCK_INTERPOSED int pthread_setspecific(pthread_key_t key, const void* value) noexcept {
  ProgramThread* thread = caller_with_values();
  return thread != nullptr ? thread->specific.set(key, value) : real::pthread_setspecific(key, value);
}
