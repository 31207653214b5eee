#include <google/protobuf/util/time_util.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/decisions.h"
#include "cli/decisions_diff.h"
#include "cli/nouns.h"
#include "cli/options.h"
#include "cli/policy_file.h"
#include "cli/resource.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/text_diff.h"
#include "policy/print.h"

namespace penstock::cli {
namespace {

// What the operator wrote of a policy.
std::string written(const v1::Policy& policy) {
  v1::Policy own;
  own.mutable_metadata()->set_name(policy.metadata().name());
  *own.mutable_metadata()->mutable_labels() = policy.metadata().labels();
  *own.mutable_spec() = policy.spec();
  return policy::to_yaml(own);
}

const v1::Policy* find(const v1::ListPoliciesResponse& stored, const std::string& name) {
  for (const v1::Policy& policy : stored.policies())
    if (policy.metadata().name() == name) return &policy;
  return nullptr;
}

void diff(Session& session, const std::vector<std::string>& files) {
  const std::vector<PolicyInFile> wanted = read_policies(files);
  const v1::ListPoliciesResponse stored = list_policies(session.client(), {});
  for (const PolicyInFile& found : wanted) {
    const std::string& name = found.policy.metadata().name();
    const v1::Policy* before = find(stored, name);
    const std::string text =
        unified_diff(before ? written(*before) : "", written(found.policy),
                     before ? "policy/" + name + " revision " + std::to_string(before->metadata().revision())
                            : "policy/" + name + " (none)",
                     found.file, session.console);
    session.console.out << text;
    if (!text.empty()) session.exit_code = kFailed;
  }
  session.console.out.flush();
}

std::string standing(const std::optional<Stand>& stand) { return stand ? stand->value : "nothing decided"; }

void diff_decisions(Session& session, const std::string& since, const std::string& output) {
  v1::ListDecisionsRequest request;
  *request.mutable_since() = parse_time_option("--since", since);
  int compared = 0;
  const auto found = disagreements(list_decisions(session.client(), request), compared);
  if (!found.empty()) session.exit_code = kFailed;
  if (output == "json") {
    boost::json::array rows;
    const auto stand = [](const std::optional<Stand>& of) -> boost::json::value {
      if (!of) return nullptr;
      return {{"value", of->value},
              {"policy", of->policy},
              {"message", of->message},
              {"time", google::protobuf::util::TimeUtil::ToString(of->time)}};
    };
    for (const Disagreement& of : found)
      rows.push_back({{"kind", of.kind},
                      {"name", of.name},
                      {"service", of.service},
                      {"node", of.node},
                      {"since", google::protobuf::util::TimeUtil::ToString(of.since)},
                      {"acting", stand(of.acting)},
                      {"shadow", stand(of.shadow)}});
    session.console.out << boost::json::serialize(rows) << "\n";
    return;
  }
  Table table;
  table.columns = {{"RESOURCE"}, {"NODE"}, {"SINCE"}, {"ACTING"}, {"SHADOW"}, {"POLICY"}, {"WHY"}};
  for (const Disagreement& of : found)
    table.rows.push_back({of.kind + "/" + of.name, of.node, format_time(of.since), standing(of.acting),
                          standing(of.shadow), of.shadow->policy, of.shadow->message});
  session.console.out << format(table, session.console, false);
  session.console.note(std::to_string(found.size()) + " of " + std::to_string(compared) +
                       " decided resources differ between what acts and what is in SHADOW");
  session.console.out.flush();
}

}  // namespace

void add_diff(CLI::App& app, Session& session) {
  auto files = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("diff", "What apply would change; 0: nothing, 1: something, more: an error");
  command->add_option("-f,--file", *files, "Policy file; - reads stdin")->type_name("FILE");
  auto decisions = std::make_shared<bool>(false);
  auto since = std::make_shared<std::string>("1h");
  auto output = std::make_shared<std::string>("table");
  command->add_flag("--decisions", *decisions,
                    "Instead: where policies in SHADOW decide otherwise than those that act, and since when");
  command->add_option("--since", *since, "With --decisions: of what was decided from then on (10m, or a time)")
      ->type_name("TIME")
      ->capture_default_str();
  add_output(*command, *output, {"table", "json"});
  command->callback([=, &session] {
    if (*decisions == !files->empty()) throw Failure(kUsage, "either -f or --decisions is required");
    try {
      if (*decisions) return diff_decisions(session, *since, *output);
      diff(session, *files);
    } catch (const Failure& failure) {
      if (failure.exit_code() != kFailed) throw;
      throw Failure(kUsage, failure.what());
    }
  });
}

}  // namespace penstock::cli
