#include "controller/simulate/strategies/limited.h"

#include <algorithm>
#include <utility>

namespace penstock::simulate {
namespace {

using decision::RejectReason;

class Limited final : public Strategy {
 public:
  Limited(const Form& form, Host& host, std::uint64_t seed) : form_(form), host_(host) {
    const Scenario& scenario = host.scenario();
    if (form_.door) door_ = form_.door(scenario, seed);
    for (std::size_t i = 0; i < scenario.upstreams.size(); ++i) {
      upstreams_.push_back({form_.upstream ? form_.upstream(scenario, seed + 1 + i) : nullptr, 0});
      const auto named =
          std::ranges::find(scenario.policy.upstreams, scenario.upstreams[i].name, &decision::UpstreamPolicy::name);
      timeouts_.push_back(named == scenario.policy.upstreams.end() ? decision::UpstreamPolicy{}.timeout
                                                                   : named->timeout);
    }
    for (const PageModel& page : scenario.pages) {
      const auto route = std::ranges::find_if(scenario.policy.routes, [&](const decision::RoutePolicy& candidate) {
        return decision::route_matches(candidate.match, page.path);
      });
      deadlines_.push_back(route == scenario.policy.routes.end() ? std::nullopt : route->deadline);
    }
  }

  Manner manner() const override { return {form_.threads > 0, form_.cancels}; }

  void arrive(Request& request) override {
    State& state = state_of(request);
    state = {};
    if (form_.deadlines && deadlines_[request.page]) request.deadline = request.arrived + *deadlines_[request.page];
    if (door_) {
      const Arrival arrival{host_.now(), let_in_, request.priority, host_.uniform()};
      if (!door_->admit(arrival)) return host_.refuse(request, RejectReason::limit);
      state.in_flight_at_door = let_in_;
    }
    ++let_in_;
    if (form_.threads > 0 && running_ >= form_.threads) {
      state.waiting = true;
      queue_.push_back({&request, request.arrived});
    } else {
      start(request);
    }
  }

  void forget(const Request& request) override {
    state_of(request).waiting = false;
    const auto found = std::ranges::find(queue_, &request, &Waiting::request);
    if (found != queue_.end()) queue_.erase(found);
    out(request, Fate::cancelled);
  }

  void ended(const Request& request, Fate fate) override {
    --running_;
    out(request, fate);
    while (!queue_.empty() && running_ < form_.threads) {
      const bool newest =
          form_.queue == Form::Queue::adaptive_lifo && host_.now() - queue_.front().since > form_.target;
      const Waiting next = newest ? queue_.back() : queue_.front();
      newest ? queue_.pop_back() : queue_.pop_front();
      start(*next.request);
    }
  }

  void call(const Request& request, const Call& call) override {
    Guarded& guarded = upstreams_[call.upstream];
    if (guarded.limiter) {
      const Arrival arrival{host_.now(), guarded.in_flight, request.priority, host_.uniform()};
      if (!guarded.limiter->admit(arrival)) return host_.refuse_call(request, RejectReason::limit);
      state_of(request).in_flight_at_call = guarded.in_flight;
    }
    ++guarded.in_flight;
    const Instant timeout = host_.now() + (form_.deadlines ? timeouts_[call.upstream] : form_.socket_timeout);
    host_.send(request, std::min(timeout, request.deadline));
  }

  void forget_call(const Request&, const Call&) override {}

  void call_ended(const Request& request, const Call& call, Fate fate) override {
    Guarded& guarded = upstreams_[call.upstream];
    --guarded.in_flight;
    if (guarded.limiter) guarded.limiter->ended({host_.now(), call.sent, state_of(request).in_flight_at_call, fate});
  }

  void tick() override {
    const Load load = host_.load();
    if (door_) door_->tick(host_.now(), load);
    for (Guarded& guarded : upstreams_) {
      if (guarded.limiter) guarded.limiter->tick(host_.now(), load);
    }
  }

  std::optional<double> limit(std::uint32_t upstream) const override {
    return upstreams_[upstream].limiter ? upstreams_[upstream].limiter->limit() : std::nullopt;
  }

 private:
  struct State {
    bool waiting = false;
    int in_flight_at_door = 0;
    int in_flight_at_call = 0;
  };
  struct Waiting {
    const Request* request;
    Instant since;
  };
  struct Guarded {
    std::unique_ptr<Limiter> limiter;
    int in_flight;
  };

  State& state_of(const Request& request) {
    if (request.id >= states_.size()) states_.resize(request.id + 1);
    return states_[request.id];
  }

  void start(const Request& request) {
    state_of(request).waiting = false;
    ++running_;
    host_.start(request);
  }

  void out(const Request& request, Fate fate) {
    --let_in_;
    if (door_) door_->ended({host_.now(), request.arrived, state_of(request).in_flight_at_door, fate});
  }

  const Form& form_;
  Host& host_;
  std::unique_ptr<Limiter> door_;
  std::vector<Guarded> upstreams_;
  std::vector<Duration> timeouts_;
  std::vector<std::optional<Duration>> deadlines_;
  std::vector<State> states_;
  std::deque<Waiting> queue_;
  int let_in_ = 0;
  int running_ = 0;
};

class LimitedEnsemble final : public Ensemble {
 public:
  LimitedEnsemble(Form form, std::uint64_t seed) : form_(std::move(form)), seed_(seed) {}
  std::unique_ptr<Strategy> make(Host& host) override {
    return std::make_unique<Limited>(form_, host, seed_ * 1000 + host.node());
  }

 private:
  const Form form_;
  const std::uint64_t seed_;
};

}  // namespace

std::unique_ptr<Ensemble> make_limited(Form form, std::uint64_t seed) {
  return std::make_unique<LimitedEnsemble>(std::move(form), seed);
}

}  // namespace penstock::simulate
