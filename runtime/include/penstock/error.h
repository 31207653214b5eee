#pragma once

#include <stdexcept>
#include <string>

#include "penstock/decision/admission.h"
#include "penstock/decision/time.h"

namespace penstock {

using decision::Duration;
using decision::Instant;
using decision::RejectReason;

// Thrown by any wait of a fiber whose deadline has passed. Sticky: every further wait below that deadline throws again.
class DeadlineExceeded : public std::runtime_error {
 public:
  explicit DeadlineExceeded(const std::string& what) : std::runtime_error(what) {}
};

// Thrown by any wait of a fiber that was cancelled (its client went away, its owner called cancel()). Sticky.
class Cancelled : public std::runtime_error {
 public:
  explicit Cancelled(const std::string& what) : std::runtime_error(what) {}
};

// Thrown when a pool or an upstream refuses, before anything was done.
class Rejected : public std::runtime_error {
 public:
  Rejected(RejectReason reason, Duration retry_after, const std::string& what)
      : std::runtime_error(what), reason_(reason), retry_after_(retry_after) {}
  RejectReason reason() const { return reason_; }
  // Estimate of when a retry may be admitted; zero when unknown.
  Duration retry_after() const { return retry_after_; }

 private:
  RejectReason reason_;
  Duration retry_after_;
};

}  // namespace penstock
