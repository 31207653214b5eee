#include "penstock/decision/fleet_calendar.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace penstock::decision {

void FleetCalendar::ask(std::string upstream, std::vector<std::string> services, bool testing, Duration wall) {
  const std::uint64_t rank = TestCalendar::rank(upstream, wall);
  askers_.push_back({testing, rank, std::move(upstream), std::move(services)});
}

void FleetCalendar::resolve() {
  turns_.clear();
  std::ranges::sort(askers_, [](const Asker& a, const Asker& b) {
    return std::tie(b.testing, a.rank, a.upstream) < std::tie(a.testing, b.rank, b.upstream);
  });
  std::set<std::string, std::less<>> taken;
  for (Asker& asker : askers_) {
    const bool free =
        std::ranges::none_of(asker.services, [&](const auto& service) { return taken.contains(service); });
    if (!free && !asker.testing) continue;
    for (std::string& service : asker.services) taken.insert(std::move(service));
    turns_.insert(std::move(asker.upstream));
  }
  askers_.clear();
}

}  // namespace penstock::decision
