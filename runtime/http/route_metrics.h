#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "penstock/metrics.h"
#include "penstock/pool.h"
#include "runtime/fiber/fiber_state.h"

namespace penstock::http {

// The code, known to metrics and logs only, of requests whose client left before the answer; as in nginx.
inline constexpr int kClientLeft = 499;

// The metrics of one route as one scheduler thread counts them: the registry's objects, each looked up once. Used on
// its own thread only.
class RouteMetrics {
 public:
  RouteMetrics(MetricsRegistry& registry, std::string route);

  void finished(int code, decision::Priority priority, Duration took);
  void rejected(decision::Priority priority, RejectReason reason);
  void account(const fiber::RequestAccount& account);

 private:
  using ByPriority = std::array<Counter*, decision::kPriorities>;
  Counter& time(const char* phase, const std::string* upstream);

  MetricsRegistry& registry_;
  const std::string route_;
  Histogram& duration_;
  std::vector<std::pair<int, ByPriority>> requests_;
  std::array<ByPriority, decision::kRejectReasons> rejected_{};
  Counter& running_;
  Counter& ready_;
  std::vector<std::pair<const std::string*, Counter*>> waiting_;
};

}  // namespace penstock::http
