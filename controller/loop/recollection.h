#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "controller/fleet/baseline_view.h"
#include "controller/signals/history_reader.h"
#include "penstock/decision/baseline.h"
#include "penstock/v1/admin.pb.h"

// What recorded weeks say of each upstream and pool, and what of it is worth an entry of the decision log. Values in,
// values out: no I/O, no clock, no threads.
//
// An upstream that became slower is told of once when it crosses a threshold, again at each further half as much, and
// once when it is as it was:
//   - kDrift, the last day to the same hours of the weeks before: what nobody notices, because each hour looks like the
//     one before;
//   - kDeparture, the last three hours to what is expected of them: what moves by the hour.
namespace penstock::controller {

class Recollection {
 public:
  static constexpr double kDrift = 1.5;
  static constexpr double kDeparture = 2;
  static constexpr double kFurther = 1.5;
  static constexpr double kAsBefore = 1.25;
  // Upstreams and pools of all services that are kept, 6 KiB each.
  static constexpr std::size_t kMost = 10'000;

  void record(const History& history);

  struct Turn {
    Baselines baselines;
    // Without id and time.
    std::vector<v1::Decision> decisions;
  };
  // What holds then. `complete`: all that was to be read at start was read: before, nothing is told of.
  Turn turn(std::chrono::system_clock::time_point wall, bool complete);

 private:
  using Key = std::pair<std::string, std::string>;
  // How often the threshold was crossed upwards.
  struct Told {
    int drift = 0;
    int departure = 0;
  };
  struct Upstream {
    decision::Baseline latency;
    decision::Baseline rate;
    Told told;
  };
  bool full() const { return upstreams_.size() + pools_.size() >= kMost; }

  std::map<Key, Upstream> upstreams_;
  std::map<Key, decision::Baseline> pools_;
};

}  // namespace penstock::controller
