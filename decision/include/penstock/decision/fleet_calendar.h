#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/decision/test_calendar.h"
#include "penstock/decision/time.h"

namespace penstock::decision {

// Which upstreams of many services may be tested at once: those that share no service. The one under test holds back
// requests that would call the other upstreams of their service as well, so each would read the other's cut; upstreams
// of services that have nothing to do with each other are tested side by side. Of several that ask, those go first that
// are first in TestCalendar's order. Not thread-safe; deterministic.
class FleetCalendar {
 public:
  // Each upstream that wants to be tested or is under test, once a tick, before resolve(). An upstream that several
  // services call names all of them.
  void ask(std::string upstream, std::vector<std::string> services, bool testing, Duration wall);
  // Ends the tick: whose turn it is until the next.
  void resolve();
  bool may_test(std::string_view upstream) const { return turns_.contains(upstream); }

 private:
  struct Asker {
    bool testing;
    std::uint64_t rank;
    std::string upstream;
    std::vector<std::string> services;
  };
  std::vector<Asker> askers_;
  std::set<std::string, std::less<>> turns_;
};

}  // namespace penstock::decision
