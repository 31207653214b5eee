#include "runtime/http/route_metrics.h"

#include <algorithm>

namespace penstock::http {

RouteMetrics::RouteMetrics(MetricsRegistry& registry, std::string route)
    : registry_(registry),
      route_(std::move(route)),
      duration_(registry.histogram("penstock_request_duration_seconds",
                                   "Time from the arrival of a request to the end of its answer.",
                                   {{"route", route_}})),
      running_(time("running", nullptr)),
      ready_(time("ready", nullptr)) {}

Counter& RouteMetrics::time(const char* phase, const std::string* upstream) {
  return registry_.counter(
      "penstock_request_time_seconds_total",
      "Where requests spend their time: running, ready while another has the thread, or waiting, and for whom.",
      {{"route", route_}, {"phase", phase}, {"upstream", upstream == nullptr ? std::string() : *upstream}});
}

void RouteMetrics::finished(int code, decision::Priority priority, Duration took) {
  auto found = std::find_if(requests_.begin(), requests_.end(), [&](const auto& entry) { return entry.first == code; });
  if (found == requests_.end()) found = requests_.insert(requests_.end(), {code, ByPriority{}});
  Counter*& counter = found->second[static_cast<std::size_t>(priority)];
  if (counter == nullptr) {
    counter = &registry_.counter(
        "penstock_requests_total", "Requests answered; 499: the client left before.",
        {{"route", route_}, {"code", std::to_string(code)}, {"priority", std::string(decision::to_string(priority))}});
  }
  counter->add();
  duration_.observe(took);
}

void RouteMetrics::rejected(decision::Priority priority, RejectReason reason) {
  Counter*& counter = rejected_[static_cast<std::size_t>(reason)][static_cast<std::size_t>(priority)];
  if (counter == nullptr) {
    counter = &registry_.counter("penstock_requests_rejected_total", "Requests refused by a pool or an upstream.",
                                 {{"route", route_},
                                  {"priority", std::string(decision::to_string(priority))},
                                  {"reason", std::string(decision::to_string(reason))}});
  }
  counter->add();
}

void RouteMetrics::account(const fiber::RequestAccount& account) {
  running_.add(decision::seconds(account.running));
  ready_.add(decision::seconds(account.ready));
  for (const auto& [upstream, duration] : account.waiting) {
    auto found = std::find_if(waiting_.begin(), waiting_.end(),
                              [name = upstream](const auto& entry) { return entry.first == name; });
    if (found == waiting_.end()) found = waiting_.insert(waiting_.end(), {upstream, &time("waiting", upstream)});
    found->second->add(decision::seconds(duration));
  }
}

}  // namespace penstock::http
