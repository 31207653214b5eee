#pragma once

#include <array>

#include "decision/usefulness.h"
#include "penstock/decision/circuit_breaker.h"

namespace penstock::decision {

// The calls in flight in the order of their start, linked through the calls themselves. Ageing them costs what passes
// an edge, not what is in flight: for each edge a cursor stands at the oldest call that has not passed it.
class CallList {
 public:
  using Call = CircuitBreaker::Call;

  void append(Call& call) {
    call.previous = last_;
    call.next = nullptr;
    (last_ ? last_->next : first_) = &call;
    last_ = &call;
    for (Call*& cursor : cursors_) {
      if (!cursor) cursor = &call;
    }
    if (!slow_cursor_) slow_cursor_ = &call;
  }

  void remove(Call& call) {
    for (Call*& cursor : cursors_) {
      if (cursor == &call) cursor = call.next;
    }
    if (slow_cursor_ == &call) slow_cursor_ = call.next;
    (call.previous ? call.previous->next : first_) = call.next;
    (call.next ? call.next->previous : last_) = call.previous;
    call.previous = call.next = nullptr;
  }

  Call* first() const { return first_; }

  // Calls passed(call, bin) for each call that has grown into `bin`.
  template <class F>
  void for_each_aged(Instant now, F&& passed) {
    for (std::size_t k = 1; k < cursors_.size(); ++k) {
      while (cursors_[k] && now - cursors_[k]->started >= Usefulness::kEdges[k]) {
        Call& call = *cursors_[k];
        cursors_[k] = call.next;
        passed(call, static_cast<int>(k));
      }
    }
  }

  // Calls passed(call) for each call that has grown older than `over`, once.
  template <class F>
  void for_each_slow(Duration over, Instant now, F&& passed) {
    while (slow_cursor_ && now - slow_cursor_->started > over) {
      Call& call = *slow_cursor_;
      slow_cursor_ = call.next;
      passed(call);
    }
  }
  // `over` changed: all are looked at again.
  void restart_slow() { slow_cursor_ = first_; }

 private:
  Call* first_ = nullptr;
  Call* last_ = nullptr;
  std::array<Call*, Usefulness::kBins> cursors_{};
  Call* slow_cursor_ = nullptr;
};

}  // namespace penstock::decision
