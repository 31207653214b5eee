#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "penstock/decision/circuit_breaker.h"

namespace penstock::decision {

// The calls in flight in the order of their start, linked through the calls themselves. Ageing them costs what passes
// an edge, not what is in flight: for each edge a cursor stands at the oldest call that has not passed it. Calls that
// began since they were last aged are passed by no cursor, so that short ones come and go without touching any.
class CallList {
 public:
  using Call = CircuitBreaker::Call;
  static constexpr std::size_t kBins = 12;

  void append(Call& call) {
    call.list = this;
    call.round = round_;
    call.previous = last_;
    call.next = nullptr;
    (last_ ? last_->next : first_) = &call;
    last_ = &call;
    if (!fresh_) fresh_ = &call;
  }

  void remove(Call& call) {
    if (is_fresh(&call)) {
      if (fresh_ == &call) fresh_ = call.next;
    } else {
      Call* next = is_fresh(call.next) ? nullptr : call.next;
      for (Call*& cursor : cursors_) {
        if (cursor == &call) cursor = next;
      }
      if (slow_cursor_ == &call) slow_cursor_ = next;
    }
    (call.previous ? call.previous->next : first_) = call.next;
    (call.next ? call.next->previous : last_) = call.previous;
    call.previous = call.next = nullptr;
    call.list = nullptr;
  }

  Call* first() const { return first_; }

  // Calls passed(call, bin) for each call that has grown past edges[bin].
  template <class F>
  void for_each_aged(const std::array<Duration, kBins>& edges, Instant now, F&& passed) {
    if (now < next_edge_ && (!fresh_ || now - fresh_->started < edges[1])) return;
    take_in_fresh();
    next_edge_ = Instant::max();
    for (std::size_t k = 1; k < kBins; ++k) {
      while (cursors_[k] && now - cursors_[k]->started >= edges[k]) {
        Call& call = *cursors_[k];
        cursors_[k] = call.next;
        passed(call, static_cast<int>(k));
      }
      if (cursors_[k] && cursors_[k]->started + edges[k] < next_edge_) next_edge_ = cursors_[k]->started + edges[k];
    }
  }

  // Calls passed(call) for each call that has grown older than `over`, once.
  template <class F>
  void for_each_slow(Duration over, Instant now, F&& passed) {
    const Call* oldest = slow_cursor_ ? slow_cursor_ : fresh_;
    if (!oldest || now - oldest->started <= over) return;
    take_in_fresh();
    while (slow_cursor_ && now - slow_cursor_->started > over) {
      Call& call = *slow_cursor_;
      slow_cursor_ = call.next;
      passed(call);
    }
  }
  // `over` changed: all are looked at again.
  void restart_slow() {
    take_in_fresh();
    slow_cursor_ = first_;
  }

 private:
  bool is_fresh(const Call* call) const { return call && call->round == round_; }

  void take_in_fresh() {
    if (!fresh_) return;
    next_edge_ = Instant::min();
    for (Call*& cursor : cursors_) {
      if (!cursor) cursor = fresh_;
    }
    if (!slow_cursor_) slow_cursor_ = fresh_;
    fresh_ = nullptr;
    ++round_;
  }

  Call* first_ = nullptr;
  Call* last_ = nullptr;
  // The oldest of those that began in this round, which ends when the calls are aged.
  Call* fresh_ = nullptr;
  std::uint32_t round_ = 0;
  std::array<Call*, kBins> cursors_{};
  Call* slow_cursor_ = nullptr;
  // No call that any cursor stands at passes an edge before.
  Instant next_edge_ = Instant::max();
};

}  // namespace penstock::decision
