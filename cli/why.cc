#include <memory>

#include "cli/commands.h"
#include "cli/decisions.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"

namespace penstock::cli {
namespace {

struct Options {
  std::string resource;
  std::string at;
  std::string service;
  std::string output = "table";
};

void show(const v1::WhyResponse& why, const Console& console) {
  console.out << console.paint(Colour::bold, why.summary()) << "\n";
  for (const std::string& step : why.steps()) console.out << "  " << step << "\n";
  if (!why.would_change().empty()) console.out << "\nwhat would change it\n";
  for (const std::string& change : why.would_change()) console.out << "  " << change << "\n";
  if (!why.decisions().empty()) console.out << "\ndecisions, newest first\n";
  for (const v1::Decision& decision : why.decisions()) console.out << "  " << line(decision, console) << "\n";
  console.out.flush();
}

}  // namespace

void add_why(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("why", "Why a pool, an upstream or a node is as it is");
  command->add_option("resource", options->resource, "As in upstream/payments")->required()->type_name("KIND/NAME");
  command->add_option("--at", options->at, "At this time (2024-05-01T12:00:00Z), or so long ago (10m)")
      ->type_name("TIME");
  add_service(*command, options->service);
  add_output(*command, options->output, {"table", "json", "yaml"});
  command->callback([options, &session] {
    const Resource resource = parse_resource(options->resource);
    if (resource.kind == "policy")
      throw Failure(kUsage, "a policy is what was applied: see history " + options->resource);
    v1::WhyRequest request;
    request.set_kind(resource.kind);
    request.set_name(resource.name);
    request.set_service(options->service);
    if (!options->at.empty()) *request.mutable_at() = parse_time_option("--at", options->at);
    auto why = std::make_shared<v1::WhyResponse>(session.client().call(request));
    if (options->output == "table") return show(*why, session.console);
    print(Result{.message = why}, parse_output(options->output), session.console);
  });
}

}  // namespace penstock::cli
