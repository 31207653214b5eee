#pragma once

#include <memory>

#include "controller/clock.h"
#include "controller/fleet/fleet.h"
#include "controller/loop/cause_tests.h"
#include "controller/store/decision_log.h"
#include "penstock/metrics.h"

namespace penstock::controller {

// Looks at the tests for causes ten times a second and carries out what they say. It reads streamed counters only: a
// Prometheus that answers late holds up nothing here.
class CauseLoop {
 public:
  CauseLoop(Fleet& fleet, DecisionLog& log, Clock& clock, MetricsRegistry& metrics);
  ~CauseLoop();
  CauseLoop(const CauseLoop&) = delete;

  // Turns until the calling fiber is cancelled.
  void run();
  void turn();

 private:
  struct Meters;

  Fleet& fleet_;
  DecisionLog& log_;
  Clock& clock_;
  CauseTests tests_;
  std::unique_ptr<Meters> meters_;
};

}  // namespace penstock::controller
