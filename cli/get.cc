#include <memory>

#include "cli/commands.h"
#include "cli/nouns.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"

namespace penstock::cli {
namespace {

struct Options {
  std::string noun;
  std::string name;
  std::string service;
  std::string output = "table";
  std::vector<std::string> labels;
  bool watch = false;
};

Selection selection(const Options& options) {
  Selection result{options.name, options.service};
  for (const std::string& label : options.labels) {
    const std::size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0) throw Failure(kUsage, "-l: \"" + label + "\" is not KEY=VALUE");
    result.labels[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return result;
}

// "pools" for "pool", "pools" or "pool/NAME", which also sets the name.
std::string noun(Options& options) {
  std::string kind = options.noun;
  if (const std::size_t slash = kind.find('/'); slash != std::string::npos) {
    if (!options.name.empty()) throw Failure(kUsage, "the name is given twice");
    options.name = parse_resource(kind).name;
    kind = kind.substr(0, slash);
  }
  if (kind == "breaker" || kind == "breakers") return "breakers";
  const std::string one = singular(kind);
  if (one.empty())
    throw Failure(kUsage, "\"" + kind + "\" is no kind; the kinds are nodes, pools, upstreams, breakers and policies");
  return one == "policy" ? "policies" : one + "s";
}

}  // namespace

void add_get(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("get", "List nodes, pools, upstreams, breakers or policies");
  command->add_option("kind", options->noun, "nodes, pools, upstreams, breakers, policies, or KIND/NAME")->required();
  command->add_option("name", options->name, "Only the one of this name");
  add_service(*command, options->service);
  add_output(*command, options->output, every_output());
  command->add_option("-l,--selector", options->labels, "Only with this label (nodes, policies)")
      ->type_name("KEY=VALUE")
      ->delimiter(',');
  command->add_flag("-w,--watch", options->watch, "Show again what changes");
  command->callback([options, &session] {
    const std::string kind = noun(*options);
    const Selection wanted = selection(*options);
    const Output output = parse_output(options->output);
    const auto fetch = [&] { return get(session.client(), kind, wanted); };
    if (options->watch) watch(fetch, output, session.console, std::chrono::seconds(1));
    print(fetch(), output, session.console);
  });
}

}  // namespace penstock::cli
