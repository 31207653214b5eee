#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controller/simulate/strategies/upstream_guard.h"
#include "controller/simulate/strategy.h"
#include "penstock/decision/admission.h"
#include "penstock/decision/cpu_guard.h"
#include "penstock/decision/request_memory.h"
#include "penstock/decision/test_calendar.h"

// A node with Penstock: the real decision code, put together as in runtime/registry.cc and runtime/admission.
namespace penstock::simulate {

class PenstockNode final : public Strategy {
 public:
  PenstockNode(Host& host, const decision::Policy& policy);

  Manner manner() const override { return {.threads = false, .cancels = !policy_.shadow}; }
  void arrive(Request& request) override;
  void forget(const Request& request) override;
  void ended(const Request& request, Fate fate) override;
  void call(const Request& request, const Call& call) override;
  void forget_call(const Request& request, const Call& call) override;
  void call_ended(const Request& request, const Call& call, Fate fate) override;
  bool may_retry(const Request& request, const Call& call) override;
  void tick() override;
  void wake() override { open_door(); }
  void expose(Exposition& exposition) const override;
  std::optional<double> limit(std::uint32_t upstream) const override;

  // What the controller sees on the stream and may ask for.
  struct Pool {
    decision::PoolPolicy policy;
    std::unique_ptr<decision::Admission> admission;
    std::optional<int> imposed;
    double requests = 0;
    double completed = 0;
    double busy_seconds = 0;
    int limit_in_force(std::int64_t bytes_per_request) const;
  };
  std::vector<Pool>& pools() { return pools_; }
  std::deque<UpstreamGuard>& upstreams() { return guards_; }
  std::int64_t bytes_per_request() const { return memory_.bytes_per_request(); }
  // Renews the lease up to then.
  void lease_until(Instant until) { lease_until_ = until; }
  void impose(Pool& pool, int limit);

 private:
  struct State;
  // Of a request at the CPU's door.
  struct AtDoor : decision::Ticket {
    State* state = nullptr;
  };
  struct State : decision::Ticket {
    AtDoor door;
    const Request* request = nullptr;
    std::uint32_t pool = 0;
    Instant admitted{};
    decision::Tenant whose = decision::kOthers;
    GuardedCall call;
  };
  State& state_of(const Request& request);
  void update_limit(Pool& pool);
  void settle(Pool& pool);
  // Through the door, to the pool.
  void enter(State& state);
  // Lets in who waits at the door, if the CPU has room.
  void open_door();
  int runnable() const;

  Host& host_;
  const decision::Policy& policy_;
  std::vector<Pool> pools_;
  // By page.
  struct Route {
    std::uint32_t pool = 0;
    decision::Priority priority = decision::Priority::normal;
    std::optional<Duration> deadline;
    // By the tenant's number in the page.
    std::vector<decision::Tenant> tenants;
    decision::Tenant tenant(const Request& request) const {
      return request.tenant < tenants.size() ? tenants[request.tenant] : decision::kOthers;
    }
  };
  std::vector<Route> routes_;
  std::deque<UpstreamGuard> guards_;
  std::deque<State> states_;
  decision::Verdicts decided_;
  decision::RequestMemory memory_;
  decision::CpuGuard door_;
  decision::Verdicts let_in_;
  decision::TestCalendar calendar_;
  Instant lease_until_{};
};

}  // namespace penstock::simulate
