#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>

#include "penstock/error.h"

namespace penstock {

// Why fn was rejected.
inline RejectReason reason_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Rejected& rejected) {
    return rejected.reason();
  }
  ADD_FAILURE() << "was not rejected";
  return {};
}

// Counts who is inside at once, on all threads.
class Occupancy {
 public:
  class Visit {
   public:
    explicit Visit(Occupancy& of) : inside_(of.inside_) {
      const int now = ++inside_;
      for (int seen = of.most_; seen < now && !of.most_.compare_exchange_weak(seen, now);) {
      }
    }
    ~Visit() { --inside_; }
    Visit(const Visit&) = delete;

   private:
    std::atomic<int>& inside_;
  };
  int most() const { return most_; }

 private:
  std::atomic<int> inside_{0};
  std::atomic<int> most_{0};
};

}  // namespace penstock
