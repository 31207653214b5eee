#include "cli/replay.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "cli/decisions.h"
#include "cli/failure.h"
#include "cli/policy_file.h"
#include "cli/prometheus.h"
#include "cli/resource.h"
#include "cli/table.h"
#include "controller/simulate/replay/replay.h"
#include "policy/convert.h"

namespace penstock::cli {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::chrono::seconds kTimeout{60};
// Prometheus answers no more samples of a series at once.
constexpr double kMostSamples = 10'000;
constexpr double kScrapesPerWindow = 4;

double to_seconds(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + time.nanos() * 1e-9;
}

// What is about the same things as the replay.
bool comparable(const v1::Decision& decision) {
  return decision.kind() == "pool"
             ? decision.action() == "resize"
             : decision.kind() == "upstream" && decision.action() != "override" && decision.action() != "drift";
}

struct Line {
  const v1::Decision* decision;
  bool replayed;
};

// Both in the order of time.
std::vector<Line> merge(const std::vector<v1::Decision>& replayed, const std::vector<v1::Decision>& decided) {
  std::vector<Line> lines;
  for (const auto& decision : replayed) lines.push_back({&decision, true});
  for (const auto& decision : decided) lines.push_back({&decision, false});
  std::ranges::stable_sort(lines, [](const Line& a, const Line& b) {
    return to_seconds(a.decision->time()) < to_seconds(b.decision->time());
  });
  return lines;
}

boost::json::object row(const v1::Decision& decision) {
  boost::json::object fields{{"time", TimeUtil::ToString(decision.time())},
                             {"kind", decision.kind()},
                             {"name", decision.name()},
                             {"service", decision.service()},
                             {"node", decision.node()},
                             {"policy", decision.policy()},
                             {"action", decision.action()},
                             {"reason", decision.reason()},
                             {"verdict", decision.verdict()},
                             {"message", decision.message()},
                             {"formula", decision.formula()}};
  const auto result = decision.evidence().fields().find("result");
  if (result != decision.evidence().fields().end()) fields["result"] = result->second.number_value();
  return fields;
}

std::string words(const v1::Decision& decision) {
  const auto result = decision.evidence().fields().find("result");
  std::string text = decision.action();
  if (decision.kind() == "pool" && result != decision.evidence().fields().end())
    text += " to " + std::to_string(static_cast<long long>(result->second.number_value()));
  if (!decision.reason().empty()) text += " (" + decision.reason() + ")";
  if (!decision.verdict().empty() && decision.verdict() != "none") text += " " + decision.verdict();
  return text;
}

}  // namespace

void replay(const ReplayOptions& options, Session& session) {
  if (options.file.empty()) throw Failure(kUsage, "--from needs a policy: -f FILE");
  const std::vector<PolicyInFile> policies = read_policies({options.file});
  if (policies.size() != 1) throw Failure(kUsage, options.file + ": holds several policies, expected one");
  const auto policy = policy::to_decision(policies.front().policy);
  if (!policy.ok()) throw Failure(kInvalidPolicy, std::string(policy.status().message()));

  const auto from = parse_time_option("--from", options.from);
  const auto to = options.to.empty() ? TimeUtil::GetCurrentTime() : parse_time_option("--to", options.to);
  const double begin = to_seconds(from);
  const double end = to_seconds(to);
  if (end <= begin) throw Failure(kUsage, "--to: must be later than --from");
  double step = decision::seconds(parse_duration_option("--step", options.step));
  if (step < 0.1) throw Failure(kUsage, "--step: must be at least 100ms");
  if ((end - begin) / step > kMostSamples) {
    step = std::ceil((end - begin) / kMostSamples);
    session.console.note("--step: " + std::to_string(static_cast<int>(step)) + "s, so that Prometheus answers");
  }
  simulate::Recording recording;
  for (const auto& [name, query] : simulate::recording_queries(policy->service, kScrapesPerWindow * step)) {
    const std::string body = ask_prometheus(options.prometheus, "/api/v1/query_range",
                                            {{"query", query},
                                             {"start", std::to_string(begin)},
                                             {"end", std::to_string(end)},
                                             {"step", std::to_string(step)}},
                                            kTimeout);
    try {
      recording[name] = simulate::parse_range(body);
      for (const simulate::Recorded& series : recording[name])
        for (const auto& [time, value] : series.points)
          if (time < begin - step || time > end + step) throw std::runtime_error("answered times not asked for");
    } catch (const std::runtime_error& error) {
      throw Failure(kFailed, options.prometheus.url + ": " + name + ": " + error.what());
    }
  }
  simulate::Replayed replayed = simulate::replay(*policy, recording, begin, end, step);

  std::vector<v1::Decision> decided;
  try {
    v1::ListDecisionsRequest request;
    request.set_service(policy->service);
    *request.mutable_since() = from;
    *request.mutable_until() = to;
    decided = list_decisions(session.client(), request);
    std::erase_if(decided, [](const v1::Decision& decision) { return !comparable(decision); });
  } catch (const Failure& failure) {
    replayed.unknown.push_back(std::string("what was decided is not known: ") + failure.what());
  }

  if (options.output == "json") {
    boost::json::array would, did, unknown;
    for (const auto& decision : replayed.decisions) would.push_back(row(decision));
    for (const auto& decision : decided) did.push_back(row(decision));
    for (const auto& sentence : replayed.unknown) unknown.push_back(boost::json::string(sentence));
    const boost::json::object all{{"policy", policy->name},          {"from", TimeUtil::ToString(from)},
                                  {"to", TimeUtil::ToString(to)},    {"step_seconds", step},
                                  {"nodes", replayed.nodes},         {"pools", replayed.pools},
                                  {"upstreams", replayed.upstreams}, {"would_decide", std::move(would)},
                                  {"decided", std::move(did)},       {"unknown", std::move(unknown)}};
    session.console.out << boost::json::serialize(all) << "\n" << std::flush;
    return;
  }
  Table table;
  table.columns = {{"TIME"}, {"RESOURCE"}, {"NODE"}, {"WOULD DECIDE"}, {"DECIDED"}, {"WHY"}};
  for (const Line& line : merge(replayed.decisions, decided)) {
    const v1::Decision& decision = *line.decision;
    const Cell what(words(decision), line.replayed ? Colour::bold : Colour::plain);
    table.rows.push_back({format_time(decision.time()), decision.kind() + "/" + decision.name(), decision.node(),
                          line.replayed ? what : Cell(""), line.replayed ? Cell("") : what, decision.message()});
  }
  session.console.out << format(table, session.console, false) << std::flush;
  session.console.note("policy " + policy->name + " on what was recorded of " + std::to_string(replayed.nodes) +
                       " nodes, " + std::to_string(replayed.pools) + " pools, " + std::to_string(replayed.upstreams) +
                       " upstreams: " + std::to_string(replayed.decisions.size()) + " decisions, beside " +
                       std::to_string(decided.size()) + " that were taken");
  for (const std::string& sentence : replayed.unknown) session.console.note("not known: " + sentence);
}

}  // namespace penstock::cli
