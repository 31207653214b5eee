#include <algorithm>
#include <exception>
#include <sstream>
#include <utility>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"
#include "policy/fields.h"

namespace penstock::cli {
namespace {

void add_connection(CLI::App& app, Session& session) {
  Connection& connection = session.connection;
  app.add_option("--controller", connection.controller, "Address of the controller")
      ->envname("PENSTOCK_CONTROLLER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--tls-ca", connection.tls_ca, "Certificates that the controller's must come from")
      ->envname("PENSTOCK_TLS_CA")
      ->type_name("FILE");
  app.add_option("--tls-cert", connection.tls_cert, "Own certificate")->envname("PENSTOCK_TLS_CERT")->type_name("FILE");
  app.add_option("--tls-key", connection.tls_key, "Own key")->envname("PENSTOCK_TLS_KEY")->type_name("FILE");
  app.add_option_function<std::string>(
         "--timeout",
         [&connection](const std::string& text) {
           connection.timeout = parse_duration_option("--timeout", text);
           if (connection.timeout <= std::chrono::nanoseconds(0)) throw Failure(kUsage, "--timeout: must be above 0s");
         },
         "Longest wait for the controller, and with --wait for the nodes")
      ->type_name("DURATION")
      ->default_str("5s");
}

void add_commands(CLI::App& app, Session& session) {
  for (const auto add :
       {add_status, add_top, add_why, add_events, add_get, add_describe, add_explain, add_validate, add_diff, add_apply,
        add_history, add_rollback, add_simulate, add_breaker, add_pool, add_drain, add_completion, add_version})
    add(app, session);
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    command->fallthrough();
    for (CLI::App* verb : command->get_subcommands([](const CLI::App*) { return true; })) verb->fallthrough();
  }
}

// CLI11 would say that a command is missing when the first one is misspelt.
void check_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front().starts_with('-')) return;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(command->get_name());
  if (std::ranges::find(known, arguments.front()) != known.end()) return;
  throw Failure(kUsage, "\"" + arguments.front() + "\" is no command" + policy::suggestion(arguments.front(), known) +
                            "; see penstockctl --help");
}

}  // namespace

int run(std::vector<std::string> arguments, Console console) {
  Session session(console);
  CLI::App app("Operates Penstock: policies, and what the controller decides by them", "penstockctl");
  app.require_subcommand(1);
  app.set_version_flag("--version", "penstockctl " PENSTOCK_VERSION);
  add_connection(app, session);
  add_commands(app, session);
  try {
    check_command(app, arguments);
    std::ranges::reverse(arguments);  // as CLI11 takes them
    app.parse(std::move(arguments));
  } catch (const CLI::Success& success) {
    std::ostringstream unused;
    app.exit(success, console.out, unused);
  } catch (const CLI::ParseError& error) {
    console.error(error.what());
    const CLI::App* named = &app;
    while (!named->get_subcommands().empty()) named = named->get_subcommands().front();
    std::string path;
    for (; named != nullptr && named != &app; named = named->get_parent()) path = " " + named->get_name() + path;
    console.note("see penstockctl" + path + " --help");
    return kUsage;
  } catch (const Failure& failure) {
    console.out.flush();
    console.error(failure.what());
    return failure.exit_code();
  } catch (const std::exception& error) {
    console.out.flush();
    console.error(error.what());
    return kFailed;
  }
  console.out.flush();
  if (!console.out) {
    console.error("the output cannot be written");
    return kFailed;
  }
  return session.exit_code;
}

}  // namespace penstock::cli
