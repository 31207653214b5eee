#include <chrono>
#include <thread>

#include "cli/commands.h"
#include "cli/nouns.h"
#include "cli/options.h"
#include "cli/session.h"

namespace penstock::cli {
namespace {

std::string page(Session& session, const std::string& service) {
  const Selection all{"", service};
  std::string text;
  for (const char* noun : {"nodes", "pools", "upstreams"}) {
    const Result result = get(session.client(), noun, all);
    if (!text.empty()) text += "\n";
    text += result.table.rows.empty() ? result.nothing + "\n" : format(result.table, session.console, false);
  }
  return text;
}

}  // namespace

void add_top(CLI::App& app, Session& session) {
  auto service = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("top", "Nodes, pools and upstreams now; on a terminal, again each second");
  add_service(*command, *service);
  command->callback([service, &session] {
    const Console& console = session.console;
    if (!console.terminal) {
      console.out << page(session, *service) << std::flush;
      return;
    }
    while (true) {
      const std::string text = page(session, *service);
      console.out << "\033[H\033[2J" << text << std::flush;
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
  });
}

}  // namespace penstock::cli
