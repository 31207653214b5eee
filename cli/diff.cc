#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/nouns.h"
#include "cli/options.h"
#include "cli/policy_file.h"
#include "cli/session.h"
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

}  // namespace

void add_diff(CLI::App& app, Session& session) {
  auto files = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("diff", "What apply would change; 0: nothing, 1: something, more: an error");
  add_files(*command, *files);
  command->callback([files, &session] {
    try {
      diff(session, *files);
    } catch (const Failure& failure) {
      if (failure.exit_code() != kFailed) throw;
      throw Failure(kUsage, failure.what());
    }
  });
}

}  // namespace penstock::cli
