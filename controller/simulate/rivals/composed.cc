#include "controller/simulate/rivals/composed.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {
namespace {

using decision::RejectReason;

class Composed final : public Strategy {
 public:
  Composed(const Composition& composition, Host& host, std::uint64_t seed)
      : composition_(composition),
        host_(host),
        door_(composition.door ? composition.door(seed) : Gate::Parts{}),
        threads_(thread_pool(composition)) {
    const Scenario& scenario = host.scenario();
    for (std::size_t i = 0; i < scenario.upstreams.size(); ++i) {
      upstreams_.push_back({Gate(composition.upstream ? composition.upstream(seed + 1 + i) : Gate::Parts{}),
                            timeout_of(scenario, i), false});
    }
    for (const PageModel& page : scenario.pages) deadlines_.push_back(deadline_of(scenario, page));
  }

  Manner manner() const override { return {.threads = composition_.threads > 0, .cancels = composition_.deadlines}; }

  void arrive(Request& request) override {
    remember(request);
    if (composition_.deadlines && deadlines_[request.page]) {
      request.deadline = request.arrived + *deadlines_[request.page];
    }
    const Gate::Decision decision = door_.arrive({request.id, request.priority, host_.uniform()}, host_.now());
    if (decision.answer == Gate::Answer::refused) return host_.refuse(request, decision.reason);
    if (decision.answer == Gate::Answer::through) want_thread(request);
  }

  void forget(const Request& request) override {
    const Instant now = host_.now();
    if (door_.leave(request.id, now)) return;
    threads_.leave(request.id, now);
    door_.ended(request.id, Fate::cancelled, now);
    serve();
  }

  void ended(const Request& request, Fate fate) override {
    const Instant now = host_.now();
    threads_.ended(request.id, fate, now);
    door_.ended(request.id, fate, now);
    serve();
  }

  void call(const Request& request, const Call& call) override {
    const Gate::Decision decision =
        upstreams_[call.upstream].gate.arrive({request.id, request.priority, host_.uniform()}, host_.now());
    note(call.upstream);
    if (decision.answer == Gate::Answer::refused) return host_.refuse_call(request, decision.reason);
    if (decision.answer == Gate::Answer::through) send(request, call.upstream);
  }

  void forget_call(const Request& request, const Call& call) override {
    upstreams_[call.upstream].gate.leave(request.id, host_.now());
  }

  void call_ended(const Request& request, const Call& call, Fate fate) override {
    upstreams_[call.upstream].gate.ended(request.id, fate, host_.now());
    serve_calls(call.upstream);
  }

  void tick() override {
    const Load load = host_.load();
    const Instant now = host_.now();
    door_.tick(load, now);
    threads_.tick(load, now);
    serve();
    for (std::uint32_t i = 0; i < upstreams_.size(); ++i) {
      upstreams_[i].gate.tick(load, now);
      serve_calls(i);
    }
  }

  std::optional<double> limit(std::uint32_t upstream) const override {
    const Limiter* limiter = upstreams_[upstream].gate.limiter();
    return limiter ? limiter->limit() : std::nullopt;
  }

 private:
  struct Upstream {
    Gate gate;
    Duration timeout;
    bool open;
  };

  static Gate::Parts thread_pool(const Composition& composition) {
    if (composition.threads == 0) return {};
    return {.limiter = std::make_unique<FixedLimiter>(composition.threads), .line = composition.wait_for_thread};
  }

  static Duration timeout_of(const Scenario& scenario, std::size_t upstream) {
    const auto& named = scenario.policy.upstreams;
    const auto found = std::ranges::find(named, scenario.upstreams[upstream].name, &decision::UpstreamPolicy::name);
    return found == named.end() ? decision::UpstreamPolicy{}.timeout : found->timeout;
  }

  static std::optional<Duration> deadline_of(const Scenario& scenario, const PageModel& page) {
    for (const decision::RoutePolicy& route : scenario.policy.routes) {
      if (decision::route_matches(route.match, page.path)) return route.deadline;
    }
    return std::nullopt;
  }

  void remember(const Request& request) {
    if (request.id >= requests_.size()) requests_.resize(request.id + 1);
    requests_[request.id] = &request;
  }

  void want_thread(const Request& request) {
    const Gate::Decision decision = threads_.arrive({request.id, request.priority, 0}, host_.now());
    if (decision.answer == Gate::Answer::through) {
      host_.start(request);
    } else if (decision.answer == Gate::Answer::refused) {
      door_.ended(request.id, Fate::refused, host_.now());
      host_.refuse(request, decision.reason);
    }
  }

  // Lets on whoever may go on, and turns away whose time to wait is over.
  void serve() {
    const Instant now = host_.now();
    while (true) {
      if (const auto moved = threads_.next(now)) {
        const Request& request = *requests_[moved->id];
        if (!moved->refused) {
          host_.start(request);
        } else {
          door_.ended(moved->id, Fate::refused, now);
          host_.refuse(request, *moved->refused);
        }
      } else if (const auto at_door = door_.next(now)) {
        const Request& request = *requests_[at_door->id];
        at_door->refused ? host_.refuse(request, *at_door->refused) : want_thread(request);
      } else {
        return;
      }
    }
  }

  void send(const Request& request, std::uint32_t upstream) {
    const Duration timeout = composition_.deadlines ? upstreams_[upstream].timeout : composition_.socket_timeout;
    host_.send(request, std::min(host_.now() + timeout, request.deadline));
  }

  void serve_calls(std::uint32_t upstream) {
    while (const auto moved = upstreams_[upstream].gate.next(host_.now())) {
      const Request& request = *requests_[moved->id];
      moved->refused ? host_.refuse_call(request, *moved->refused) : send(request, upstream);
    }
    note(upstream);
  }

  void note(std::uint32_t upstream) {
    Upstream& noted = upstreams_[upstream];
    const bool open = noted.gate.limiter() && noted.gate.limiter()->open();
    if (open == noted.open) return;
    noted.open = open;
    host_.note_breaker(upstream, open);
  }

  const Composition& composition_;
  Host& host_;
  Gate door_;
  Gate threads_;
  std::vector<Upstream> upstreams_;
  std::vector<std::optional<Duration>> deadlines_;
  std::vector<const Request*> requests_;
};

class ComposedEnsemble final : public Ensemble {
 public:
  ComposedEnsemble(const Composition& composition, std::uint64_t seed) : composition_(composition), seed_(seed) {}
  std::unique_ptr<Strategy> make(Host& host) override {
    return std::make_unique<Composed>(composition_, host, seed_ * 1'000'003 + host.node() * 1'009);
  }

 private:
  const Composition composition_;
  const std::uint64_t seed_;
};

}  // namespace

std::unique_ptr<Ensemble> compose(const Composition& composition, std::uint64_t seed) {
  return std::make_unique<ComposedEnsemble>(composition, seed);
}

}  // namespace penstock::simulate
