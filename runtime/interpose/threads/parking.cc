#include "runtime/interpose/threads/parking.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <new>

#include "runtime/fiber/uninterrupted.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/fork.h"

PENSTOCK_REAL(clock_nanosleep)

namespace penstock::interpose {
namespace {

constexpr int kRowBits = 10;
constexpr auto kNap = std::chrono::microseconds(50);
constexpr int kYields = 8;
constexpr auto kLongestNap = std::chrono::milliseconds(2);

constinit std::array<ParkingRow, 1 << kRowBits> rows;
// Of the calling thread; signal handlers look at it.
constinit thread_local volatile int rows_held = 0;

constexpr int kMostDeferred = 16;
struct Deferred {
  struct Call {
    void (*function)(void*);
    void* argument;
  };
  volatile int count = 0;
  std::array<Call, kMostDeferred> calls{};
};
constinit thread_local Deferred deferred;

ParkingRow& row_of(const void* address) noexcept {
  const auto hash = reinterpret_cast<std::uintptr_t>(address) * 0x9E3779B97F4A7C15;
  return rows[hash >> (64 - kRowBits)];
}

void nap(Duration d) noexcept {
  const timespec time{0, static_cast<long>(d / std::chrono::nanoseconds(1))};
  real::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

// A scheduler thread in the runtime's own work, which cannot wait as a fiber.
bool must_not_switch() noexcept { return fiber::Scheduler::current() != nullptr && may_wait() == nullptr; }

}  // namespace

void call_without_row(void (*function)(void*), void* argument) noexcept {
  if (rows_held == 0) return function(argument);
  Deferred& mine = deferred;
  const int place = mine.count;
  if (place == kMostDeferred) return;
  mine.calls[static_cast<std::size_t>(place)] = {function, argument};
  mine.count = place + 1;
}

void forget_parkings() noexcept {
  for (ParkingRow& row : rows) {
    row.first = row.last = nullptr;
    row.lock.unlock();
  }
  rows_held = 0;
}

bool holds_parking_row() noexcept { return rows_held != 0; }

ParkingLock::ParkingLock(const void* address) noexcept : address_(address), row_(row_of(address)) {
  rows_held = rows_held + 1;
  row_.lock.lock();
}

ParkingLock::~ParkingLock() {
  row_.lock.unlock();
  rows_held = rows_held - 1;
  if (rows_held != 0) return;
  while (deferred.count != 0) {
    const Deferred::Call call = deferred.calls[static_cast<std::size_t>(deferred.count - 1)];
    deferred.count = deferred.count - 1;
    call.function(call.argument);
  }
}

Parking* ParkingLock::first() const noexcept {
  for (Parking* at = row_.first; at != nullptr; at = at->next_) {
    if (at->address_ == address_ && !at->granted) return at;
  }
  return nullptr;
}

bool ParkingLock::wake(Parking& parking) noexcept {
  parking.leave(row_);
  return parking.waiter_.notify();
}

bool ParkingLock::hand_over(Parking& parking) noexcept {
  if (!parking.waiter_.notify()) {
    parking.leave(row_);
    return false;
  }
  parking.granted = true;
  return true;
}

bool ParkingLock::take_back() noexcept {
  for (Parking* at = row_.first; at != nullptr; at = at->next_) {
    if (at->address_ != address_ || !at->granted || at->home_ != fiber::Scheduler::current()) continue;
    at->granted = false;
    at->leave(row_);
    return true;
  }
  return false;
}

std::size_t ParkingLock::wake_up_to(std::size_t most) noexcept {
  std::size_t woken = 0;
  while (woken < most) {
    Parking* longest = first();
    if (longest == nullptr) break;
    if (wake(*longest)) ++woken;
  }
  return woken;
}

void Parking::join(ParkingLock& lock, Place place) noexcept {
  ParkingRow& row = lock.row_;
  previous_ = place == Place::last ? row.last : nullptr;
  next_ = place == Place::last ? nullptr : row.first;
  (previous_ != nullptr ? previous_->next_ : row.first) = this;
  (next_ != nullptr ? next_->previous_ : row.last) = this;
  joined_ = true;
}

void Parking::leave(ParkingRow& row) noexcept {
  (previous_ != nullptr ? previous_->next_ : row.first) = next_;
  (next_ != nullptr ? next_->previous_ : row.last) = previous_;
  joined_ = false;
}

void Parking::sleep(Instant until) noexcept {
  if (must_not_switch()) return sleep_in_naps(until);
  const fiber::Uninterrupted always;
  try {
    timed_out_ = waiter_.wait(until) == fiber::Wake::deadline;
  } catch (const std::bad_alloc&) {
    // No memory for its timer.
    sleep_in_naps(until);
  }
}

void Parking::sleep_in_naps(Instant until) noexcept {
  for (;;) {
    {
      ParkingLock lock(address_);
      if (!joined_ || granted || interrupted_) return;
      // It was given to a fiber that cannot go on before this does.
      if (must_not_switch() && lock.take_back()) {
        granted = true;
        return;
      }
    }
    if (fiber::Scheduler* scheduler = may_wait()) scheduler->yield();
    nap(kNap);
    timed_out_ = until <= std::chrono::steady_clock::now();
    if (timed_out_) return;
  }
}

void Parking::interrupt() noexcept {
  const ParkingLock lock(address_);
  if (waiter_.notify()) interrupted_ = true;
}

bool Backoff::wait(Instant until) noexcept {
  const Instant now = std::chrono::steady_clock::now();
  if (now >= until) return false;
  ++tries_;
  const Duration longest = kLongestNap;
  const Duration wanted = std::min<Duration>(kNap * std::min(tries_, 1000), longest);
  const Duration d = std::min<Duration>(wanted, until - now);
  fiber::Scheduler* scheduler = may_wait();
  if (scheduler == nullptr) {
    nap(d);
  } else if (tries_ <= kYields) {
    scheduler->yield();
  } else {
    Parking pause(this, "a lock that other processes share");
    {
      ParkingLock lock(this);
      pause.join(lock);
    }
    pause.wait(now + d);
  }
  return true;
}

}  // namespace penstock::interpose
