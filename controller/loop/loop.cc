#include "controller/loop/loop.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "controller/process_log.h"
#include "penstock/fiber.h"
#include "policy/convert.h"

namespace penstock::controller {

namespace {

using decision::Instant;

v1::Signal::State to_proto(SignalState state) {
  switch (state) {
    case SignalState::value:
      return v1::Signal::STATE_VALUE;
    case SignalState::nan:
      return v1::Signal::STATE_NAN;
    case SignalState::empty:
      return v1::Signal::STATE_EMPTY;
    case SignalState::error:
      return v1::Signal::STATE_ERROR;
  }
  return v1::Signal::STATE_UNSPECIFIED;
}

constexpr const char* kWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";

std::int64_t ticks(Instant at) { return at.time_since_epoch().count(); }

}  // namespace

struct Loop::Meters {
  explicit Meters(MetricsRegistry& given)
      : metrics(given),
        duration(metrics.histogram("penstock_controller_loop_duration_seconds",
                                   "Time of one turn of the loop: observe, decide, publish.")) {}

  void count(const v1::Decision& decision) {
    // Reasons are single words; what a node made up is not taken as a label.
    const bool word = decision.reason().find_first_not_of(kWord) == std::string::npos && decision.reason().size() <= 40;
    metrics
        .counter(
            "penstock_controller_decisions_total", "Entries of the decision log.",
            {{"kind", decision.kind()}, {"action", decision.action()}, {"reason", word ? decision.reason() : "other"}})
        .add();
    // For annotations. Holding a limit and nodes that come and go are no news.
    if (decision.action() == "join" || decision.action() == "leave" || decision.action() == "hold") return;
    metrics
        .gauge("penstock_controller_decision_time_seconds",
               "When this was decided last, since the Unix epoch: annotations of dashboards.",
               {{"kind", decision.kind()},
                {"name", decision.name()},
                {"service", decision.service()},
                {"action", decision.action()},
                {"verdict", decision.verdict().empty() ? "none" : decision.verdict()},
                {"shadow", decision.shadow() ? "true" : "false"}})
        .set(decision::seconds(policy::to_chrono(decision.time()).time_since_epoch()));
  }
  void age(const std::string& signal, double seconds) {
    metrics
        .gauge("penstock_controller_signal_age_seconds", "Time since the signal last had a value.",
               {{"signal", signal}})
        .set(seconds);
  }
  void nodes(const std::string& service, int connected) {
    metrics.gauge("penstock_controller_nodes", "Nodes that are connected.", {{"service", service}}).set(connected);
  }

  MetricsRegistry& metrics;
  Histogram& duration;
  // When each signal last had a value.
  std::map<std::string, Instant> valued;
  std::map<std::string, int> connected;
};

Loop::Loop(Fleet& fleet, DecisionLog& log, SignalReader& signals, Clock& clock, MetricsRegistry& metrics,
           LoopOptions options)
    : fleet_(fleet),
      log_(log),
      signals_(signals),
      clock_(clock),
      started_(clock.now()),
      options_(options),
      meters_(std::make_unique<Meters>(metrics)) {
  subscription_ = log_.subscribe([meters = meters_.get()](const v1::Decision& decision) { meters->count(decision); });
}

Loop::~Loop() { log_.unsubscribe(subscription_); }

void Loop::run() {
  Instant due = clock_.now();
  while (true) {
    turn();
    // Behind by more than a period, it does not catch up.
    due = std::max(due + options_.period, clock_.now());
    sleep_for(due - clock_.now());
  }
}

void Loop::turn() {
  const Instant began = clock_.now();
  for (const v1::Override& ended : fleet_.expire()) {
    v1::Decision decision;
    decision.set_kind(ended.kind());
    decision.set_name(ended.name());
    decision.set_service(ended.service());
    decision.set_action("override");
    decision.set_reason("expired");
    decision.set_message("the override to " + ended.value() + " by " + ended.author() + " ended");
    log_.append(std::move(decision));
  }
  const Signals signals = signals_.read();
  publish(decide({fleet_.nodes(), fleet_.overrides(), fleet_.baselines()}, signals, clock_.now(), state_));
  report(signals, began);
  note_failures(signals);
}

void Loop::note_failures(const Signals& signals) {
  if (signals_.url().empty()) return;
  std::map<std::string, std::string> failing;
  std::string names, error;
  for (const auto& [name, reading] : signals.readings) {
    if (reading.state != SignalState::error) continue;
    failing[name] = reading.reason;
    names += (names.empty() ? "" : ", ") + name;
    if (error.empty()) error = reading.reason + ": " + reading.message;
  }
  if (failing == failing_) return;
  if (failing.empty()) {
    log_event("signals", {{"message", "Prometheus answers again"}, {"prometheus", signals_.url()}});
  } else {
    log_event("signals", {{"message", "Prometheus gives no usable answer: what was decided by these signals stays"},
                          {"prometheus", signals_.url()},
                          {"signals", names},
                          {"error", error}});
  }
  failing_ = std::move(failing);
}

void Loop::publish(const Plan& plan) {
  // The log first: a directive is never in force without the reason being kept.
  for (const v1::Decision& decision : plan.decisions) log_.append(decision);
  for (const auto& [id, desired] : plan.desired) fleet_.set_desired(id, desired);
  for (const auto& [key, observed] : plan.observed) fleet_.set_pool_observed(key.first, key.second, observed);
}

void Loop::report(const Signals& signals, Instant began) {
  const Instant now = clock_.now();
  LoopStatus status;
  for (const auto& [name, reading] : signals.readings) {
    if (reading.state == SignalState::value) meters_->valued[name] = now;
    const auto valued = meters_->valued.find(name);
    meters_->age(name, decision::seconds(now - (valued == meters_->valued.end() ? started_ : valued->second)));
    v1::Signal& signal = status.signals.emplace_back();
    signal.set_name(name);
    signal.set_state(to_proto(reading.state));
    signal.set_message(reading.message);
    if (valued != meters_->valued.end()) *signal.mutable_age() = policy::to_proto(now - valued->second);
  }

  for (auto& [service, connected] : meters_->connected) connected = 0;
  decision::Duration oldest{};
  bool streaming = false;
  for (const NodeState& node : fleet_.nodes()) {
    int& connected = meters_->connected[node.id.service];
    if (!node.connected) continue;
    ++connected;
    if (node.latest.counters == nullptr) continue;
    streaming = true;
    oldest = std::max<decision::Duration>(oldest, now - node.latest.at);
  }
  for (const auto& [service, connected] : meters_->connected) meters_->nodes(service, connected);
  v1::Signal& stream = status.signals.emplace_back();
  stream.set_name("stream");
  stream.set_state(streaming ? v1::Signal::STATE_VALUE : v1::Signal::STATE_EMPTY);
  if (streaming) meters_->valued["stream"] = now - oldest;
  const auto streamed = meters_->valued.find("stream");
  if (streamed != meters_->valued.end()) *stream.mutable_age() = policy::to_proto(now - streamed->second);
  meters_->age("stream", decision::seconds(now - (streamed == meters_->valued.end() ? started_ : streamed->second)));

  status.last_loop = clock_.wall();
  status.duration = now - began;
  fleet_.set_loop_status(std::move(status));
  meters_->duration.observe(now - began);
  last_turn_.store(ticks(now), std::memory_order_release);
}

bool Loop::turning() const {
  const std::int64_t last = last_turn_.load(std::memory_order_acquire);
  return last != 0 &&
         ticks(clock_.now()) - last <= std::chrono::nanoseconds(3 * options_.period + signals_.longest()).count();
}

}  // namespace penstock::controller
