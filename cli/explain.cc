#include <memory>

#include "cli/commands.h"
#include "cli/documentation.h"
#include "cli/options.h"
#include "cli/session.h"

namespace penstock::cli {

void add_explain(CLI::App& app, Session& session) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("explain", "What a field means: default, range and consequence");
  command->add_option("path", *path, "As in policy.upstreams.breaker")->required();
  command->callback([path, &session] { session.console.out << Documentation().explain(*path) << std::flush; });
}

}  // namespace penstock::cli
