#include "controller/loop/cause_decision.h"

#include "controller/loop/evidence.h"
#include "policy/convert.h"

namespace penstock::controller {

using decision::seconds;

v1::Decision to_decision(const decision::CauseTest::Decision& taken, const std::string& service,
                         const std::string& upstream, const std::vector<std::string>& services, int nodes,
                         bool shadow) {
  v1::Decision decision;
  decision.set_kind("upstream");
  decision.set_name(upstream);
  decision.set_service(service);
  decision.set_action("test");
  decision.set_reason(std::string(to_string(taken.to)));
  decision.set_verdict(std::string(to_string(taken.verdict)));
  if (taken.verdict == decision::Cause::theirs || taken.verdict == decision::Cause::ours)
    decision.set_confidence(taken.confidence);
  decision.set_message(taken.sentence);
  decision.set_formula(taken.formula);
  decision.set_would_change(taken.would_change);
  decision.set_shadow(shadow);
  const decision::Evidence& e = taken.evidence;
  set_text(decision, "from", std::string(to_string(taken.from)));
  set_number(decision, "nodes", nodes);
  if (services.size() > 1) set_list(decision, "services", services);
  if (taken.limit) set_number(decision, "limit", *taken.limit);
  // The names that nodes give them.
  set_number(decision, "r", e.r);
  set_number(decision, "f", e.f);
  set_number(decision, "z", e.z);
  set_number(decision, "x_ref", e.x_ref);
  set_number(decision, "calls", e.calls);
  set_number(decision, "calls_ref", e.calls_ref);
  set_number(decision, "latency", seconds(e.w));
  set_number(decision, "usual_latency", seconds(e.w_b));
  set_number(decision, "patience", seconds(e.patience));
  set_number(decision, "deficit", e.deficit);
  set_number(decision, "in_flight", e.in_flight);
  set_number(decision, "memory_pressure", e.memory_pressure);
  set_number(decision, "run_delay", seconds(e.run_delay));
  return decision;
}

v1::CauseView to_view(const decision::FleetTest& test) {
  v1::CauseView view;
  const auto& held = test.cause_test().holds();
  view.set_state(std::string(to_string(held.state)));
  view.set_verdict(std::string(to_string(held.verdict)));
  if (held.limit) view.set_limit(*held.limit);
  *view.mutable_latency() = policy::to_proto(test.signals().latency());
  *view.mutable_usual_latency() = policy::to_proto(test.signals().usual_latency());
  view.set_throughput(test.signals().throughput_fast());
  view.set_throughput_slow(test.signals().throughput_slow());
  if (const auto& last = test.cause_test().last_decision()) {
    view.set_message(last->sentence);
    view.set_formula(last->formula);
    view.set_would_change(last->would_change);
  }
  return view;
}

}  // namespace penstock::controller
