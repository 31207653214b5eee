#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"
#include "policy/convert.h"
#include "policy/units.h"

namespace penstock::cli {
namespace {

Cell state(v1::Signal::State state) {
  switch (state) {
    case v1::Signal::STATE_VALUE:
      return {"value", Colour::green};
    case v1::Signal::STATE_NAN:
      return {"NaN", Colour::yellow};
    case v1::Signal::STATE_EMPTY:
      return {"empty", Colour::yellow};
    case v1::Signal::STATE_ERROR:
      return {"error", Colour::red};
    default:
      return {"never asked", Colour::grey};
  }
}

void show(const v1::ControllerStatus& status, const Console& console) {
  console.out << "controller  " << status.version() << ", epoch " << status.epoch() << ", up "
              << format_age(status.start_time()) << "\n"
              << "governs     " << status.nodes() << " nodes by " << status.policies() << " policies\n";
  if (status.has_last_loop()) {
    console.out << "decided     " << format_age(status.last_loop()) << " ago, in "
                << policy::round_duration(policy::to_chrono(status.loop_duration())) << "\n";
  } else {
    console.out << "decided     not yet\n";
  }
  Table table{{{"SIGNAL"}, {"STATE"}, {"LAST VALUE", true}, {"MESSAGE"}}, {}};
  for (const v1::Signal& signal : status.signals())
    table.rows.push_back({signal.name(), state(signal.state()),
                          signal.has_age() ? policy::round_duration(policy::to_chrono(signal.age())) + " ago" : "never",
                          signal.message()});
  if (!table.rows.empty()) console.out << "\n" << format(table, console, true);
  console.out.flush();
}

}  // namespace

void add_status(CLI::App& app, Session& session) {
  auto output = std::make_shared<std::string>("table");
  CLI::App* command = app.add_subcommand("status", "The controller and what its decisions rest on");
  add_output(*command, *output, {"table", "json", "yaml"});
  command->callback([output, &session] {
    auto status = std::make_shared<v1::ControllerStatus>(session.client().call(v1::GetStatusRequest()));
    if (*output == "table") return show(*status, session.console);
    print(Result{.message = status}, parse_output(*output), session.console);
  });
}

void add_version(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("version", "Version of this program and, if it answers, of the controller");
  command->callback([&session] {
    session.console.out << "penstockctl " PENSTOCK_VERSION << std::endl;
    try {
      const v1::ControllerStatus status = session.client().call(v1::GetStatusRequest());
      session.console.out << "controller  " << status.version() << std::endl;
    } catch (const Failure& failure) {
      session.console.note(failure.what());
    }
  });
}

}  // namespace penstock::cli
