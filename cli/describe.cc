#include <memory>

#include "cli/commands.h"
#include "cli/decisions.h"
#include "cli/nouns.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"
#include "policy/print.h"

namespace penstock::cli {
namespace {

constexpr int kDecisions = 10;

template <typename Item>
std::shared_ptr<google::protobuf::Message> only(const google::protobuf::RepeatedPtrField<Item>& items,
                                                const Resource& resource) {
  if (items.size() > 1)
    throw Failure(kUsage, std::to_string(items.size()) + " services have a " + resource.kind + " \"" + resource.name +
                              "\": name one with --service");
  return std::make_shared<Item>(items.Get(0));
}

std::shared_ptr<google::protobuf::Message> find(Client& client, const Resource& resource, const std::string& service) {
  const Selection selection{resource.name, service};
  if (resource.kind == "node") return only(list_nodes(client, selection).nodes(), resource);
  if (resource.kind == "pool") return only(list_pools(client, selection).pools(), resource);
  if (resource.kind == "upstream") return only(list_upstreams(client, selection).upstreams(), resource);
  v1::GetPolicyRequest request;
  request.set_name(resource.name);
  return std::make_shared<v1::Policy>(client.call(request));
}

}  // namespace

void add_describe(CLI::App& app, Session& session) {
  struct Options {
    std::string resource;
    std::string service;
    std::string output = "table";
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("describe", "All about one resource, with its latest decisions");
  command->add_option("resource", options->resource, "As in pool/default")->required()->type_name("KIND/NAME");
  add_service(*command, options->service);
  add_output(*command, options->output, {"table", "json", "yaml"});
  command->callback([options, &session] {
    const Resource resource = parse_resource(options->resource);
    const auto found = find(session.client(), resource, options->service);
    const Console& console = session.console;
    if (options->output != "table") return print(Result{.message = found}, parse_output(options->output), console);
    console.out << policy::to_yaml(*found);
    v1::ListDecisionsRequest request;
    request.set_kind(resource.kind);
    request.set_name(resource.name);
    request.set_service(options->service);
    request.set_page_size(kDecisions);
    const v1::ListDecisionsResponse decisions = session.client().call(request);
    console.out << "\n" << console.paint(Colour::bold, "Decisions, newest first") << "\n";
    for (const v1::Decision& decision : decisions.decisions()) console.out << line(decision, console) << "\n";
    if (decisions.decisions_size() == 0) console.out << "none\n";
    console.out.flush();
  });
}

}  // namespace penstock::cli
