#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/policy_file.h"
#include "cli/resource.h"
#include "cli/rollout.h"
#include "cli/session.h"

namespace penstock::cli {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string dry_run;
  bool wait = false;
  std::optional<std::int64_t> expect_revision;
};

void apply(Session& session, const Options& options) {
  const std::vector<PolicyInFile> policies = read_policies(options.files);
  if (options.expect_revision && policies.size() != 1)
    throw Failure(kUsage, "--expect-revision needs exactly one policy, " + std::to_string(policies.size()) + " given");
  for (const PolicyInFile& found : policies) {
    v1::ApplyPolicyRequest request;
    *request.mutable_policy() = found.policy;
    request.set_validate_only(!options.dry_run.empty());
    if (options.expect_revision)
      request.set_etag(etag_of_revision(session.client(), found.policy.metadata().name(), *options.expect_revision));
    report(session, session.client().call(request), !options.dry_run.empty(), options.wait);
  }
}

}  // namespace

void add_apply(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("apply", "Make the policies of files those in force");
  add_files(*command, options->files);
  command->add_option("--dry-run", options->dry_run, "Let the controller check; change nothing")
      ->check(CLI::IsMember({"server"}));
  command->add_flag("--wait", options->wait, "Until every node has acknowledged it, at most --timeout");
  command->add_option("--expect-revision", options->expect_revision,
                      "Only if this is the newest revision (0: if there is none); else exit 5");
  command->callback([options, &session] { apply(session, *options); });
}

void add_rollback(CLI::App& app, Session& session) {
  struct Rollback {
    std::string policy;
    std::int64_t to = 0;
    Options options;
  };
  auto rollback = std::make_shared<Rollback>();
  CLI::App* command = app.add_subcommand("rollback", "Make an older revision of a policy the newest");
  command->add_option("policy", rollback->policy, "As in policy/shop")->required()->type_name("policy/NAME");
  command->add_option("--to", rollback->to, "Revision")->required();
  command->add_option("--dry-run", rollback->options.dry_run, "Let the controller check; change nothing")
      ->check(CLI::IsMember({"server"}));
  command->add_flag("--wait", rollback->options.wait, "Until every node has acknowledged it, at most --timeout");
  command->add_option("--expect-revision", rollback->options.expect_revision, "Only if this is the newest revision");
  command->callback([rollback, &session] {
    const Resource resource = parse_resource(rollback->policy);
    if (resource.kind != "policy") throw Failure(kUsage, rollback->policy + ": only a policy has revisions");
    v1::RollbackPolicyRequest request;
    request.set_name(resource.name);
    request.set_to_revision(rollback->to);
    const bool dry_run = !rollback->options.dry_run.empty();
    request.set_validate_only(dry_run);
    if (rollback->options.expect_revision)
      request.set_etag(etag_of_revision(session.client(), resource.name, *rollback->options.expect_revision));
    report(session, session.client().call(request), dry_run, rollback->options.wait);
  });
}

}  // namespace penstock::cli
