#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"
#include "policy/print.h"

namespace penstock::cli {
namespace {

Result revisions(Client& client, const std::string& name) {
  v1::ListPolicyRevisionsRequest request;
  request.set_name(name);
  request.set_page_size(1000);
  auto all = std::make_shared<v1::ListPolicyRevisionsResponse>();
  do {
    v1::ListPolicyRevisionsResponse page = client.call(request);
    request.set_page_token(page.next_page_token());
    page.clear_next_page_token();
    all->MergeFrom(page);
  } while (!request.page_token().empty());
  Result result;
  result.table.columns = {{"REVISION", true}, {"TIME"}, {"AUTHOR"}, {"CAUSE"}};
  for (const v1::PolicyRevision& revision : all->revisions()) {
    const v1::Metadata& metadata = revision.policy().metadata();
    result.table.rows.push_back({std::to_string(metadata.revision()), format_time(metadata.update_time()),
                                 revision.author(), revision.cause()});
    result.names.push_back("policy/" + metadata.name() + "@" + std::to_string(metadata.revision()));
    result.documents.push_back(policy::to_yaml(revision.policy()));
  }
  result.message = all;
  return result;
}

}  // namespace

void add_history(CLI::App& app, Session& session) {
  struct Options {
    std::string policy;
    std::string output = "table";
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("history", "Revisions of a policy, newest first");
  command->add_option("policy", options->policy, "As in policy/shop")->required()->type_name("policy/NAME");
  add_output(*command, options->output, every_output());
  command->callback([options, &session] {
    const Resource resource = parse_resource(options->policy);
    if (resource.kind != "policy") throw Failure(kUsage, options->policy + ": only a policy has revisions");
    print(revisions(session.client(), resource.name), parse_output(options->output), session.console);
  });
}

}  // namespace penstock::cli
