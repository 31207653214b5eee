#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/policy_file.h"
#include "cli/session.h"

namespace penstock::cli {

void add_validate(CLI::App& app, Session& session) {
  auto files = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("validate", "Check policy files, without a controller");
  add_files(*command, *files);
  command->callback([files, &session] {
    for (const PolicyInFile& found : read_policies(*files))
      session.console.out << found.file << ": policy/" << found.policy.metadata().name() << " is valid\n";
    session.console.out.flush();
  });
}

}  // namespace penstock::cli
