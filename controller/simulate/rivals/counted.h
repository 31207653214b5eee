#pragma once

#include "controller/simulate/rivals/limiter.h"

namespace penstock::simulate {

// A limiter that counts what it let in.
class CountedLimiter : public Limiter {
 public:
  int in_flight() const { return in_flight_; }

 protected:
  bool let_in(bool yes) {
    in_flight_ += yes ? 1 : 0;
    return yes;
  }
  void let_out() { --in_flight_; }

 private:
  int in_flight_ = 0;
};

// So many at once, as a pool of threads has it.
class FixedLimiter final : public CountedLimiter {
 public:
  explicit FixedLimiter(int places) : places_(places) {}
  bool admit(const Arrival&) override { return let_in(in_flight() < places_); }
  void ended(const Ended&) override { let_out(); }
  std::optional<double> limit() const override { return places_; }

 private:
  int places_;
};

}  // namespace penstock::simulate
