#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "penstock/decision/circuit_breaker.h"

namespace penstock::decision {

// The calls in flight in the order of their start. Ageing them costs what passes an edge, not what is in flight, and
// reads no call: those that outlive a tick are taken into an array, in which a cursor for each edge stands at the
// oldest that has not passed it. Calls that began since are linked through themselves, so that short ones come and go
// without touching any of that, and without taking memory.
class CallList {
 public:
  using Call = CircuitBreaker::Call;
  static constexpr std::size_t kBins = 12;

  // A call that has been taken in.
  struct Aged {
    // Null: it has ended.
    Call* call;
    Instant started;
    std::uint32_t era;
    bool slow = false;
  };

  void append(Call& call) {
    call.list = this;
    call.slot = kFresh;
    call.previous = last_;
    call.next = nullptr;
    if (last_) {
      last_->next = &call;
    } else {
      set_first(&call);
    }
    last_ = &call;
  }

  void remove(Call& call) {
    call.list = nullptr;
    if (call.slot != kFresh) {
      aged_[call.slot].call = nullptr;
      --alive_;
      return;
    }
    if (call.previous) {
      call.previous->next = call.next;
    } else {
      set_first(call.next);
    }
    (call.next ? call.next->previous : last_) = call.previous;
    call.previous = call.next = nullptr;
  }

  // Edges that it was seen to pass; whether it was seen to be slow.
  int bin(const Call& call) const {
    int bin = 0;
    if (call.slot == kFresh) return bin;
    while (bin + 1 < static_cast<int>(kBins) && cursors_[static_cast<std::size_t>(bin + 1)] > call.slot) ++bin;
    return bin;
  }
  bool slow(const Call& call) const { return call.slot != kFresh && aged_[call.slot].slow; }

  // Start of the oldest; max: none.
  Instant oldest() const;

  // Calls passed(aged, bin) for each call that has grown past edges[bin].
  template <class F>
  void for_each_aged(const std::array<Duration, kBins>& edges, Instant now, F&& passed) {
    if (now < next_edge_ && (!first_ || now - first_started_ < edges[1])) return;
    take_in_fresh();
    next_edge_ = Instant::max();
    for (std::size_t k = 1; k < kBins; ++k) {
      for (std::uint32_t& cursor = cursors_[k]; cursor < aged_.size(); ++cursor) {
        const Aged& aged = aged_[cursor];
        if (!aged.call) continue;
        if (now - aged.started < edges[k]) {
          next_edge_ = std::min(next_edge_, aged.started + edges[k]);
          break;
        }
        passed(aged, static_cast<int>(k));
      }
    }
  }

  // Calls passed(aged) for each call that has grown older than `over`, once.
  template <class F>
  void for_each_slow(Duration over, Instant now, F&& passed) {
    while (slow_cursor_ < aged_.size() && !aged_[slow_cursor_].call) ++slow_cursor_;
    if (slow_cursor_ == aged_.size() && !first_) return;
    if (now - (slow_cursor_ < aged_.size() ? aged_[slow_cursor_].started : first_started_) <= over) return;
    take_in_fresh();
    for (; slow_cursor_ < aged_.size(); ++slow_cursor_) {
      Aged& aged = aged_[slow_cursor_];
      if (!aged.call) continue;
      if (now - aged.started <= over) break;
      if (aged.slow) continue;
      aged.slow = true;
      passed(aged);
    }
  }
  // `over` changed: all are looked at again.
  void restart_slow() { slow_cursor_ = 0; }

  // Tells the processor that for_each_aged() is going to read these.
  void prefetch_aged(Instant now) const {
    if (now < next_edge_) return;
    for (const std::uint32_t cursor : cursors_) __builtin_prefetch(aged_.data() + cursor);
    __builtin_prefetch(first_);
  }

 private:
  static constexpr std::uint32_t kFresh = std::numeric_limits<std::uint32_t>::max();

  void set_first(Call* call) {
    first_ = call;
    if (call) first_started_ = call->started;
  }
  void take_in_fresh();
  void drop_ended();

  // Those that have not been taken in.
  Call* first_ = nullptr;
  Call* last_ = nullptr;
  Instant first_started_{};
  // No call that any cursor stands at passes an edge before.
  Instant next_edge_ = Instant::max();
  std::vector<Aged> aged_;
  // Of those, how many have not ended.
  std::uint32_t alive_ = 0;
  std::uint32_t slow_cursor_ = 0;
  std::array<std::uint32_t, kBins> cursors_{};
};

}  // namespace penstock::decision
