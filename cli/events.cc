#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/decisions.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"
#include "policy/print.h"

namespace penstock::cli {
namespace {

using namespace std::chrono_literals;

struct Options {
  std::string resource;
  std::string service;
  std::string since = "1h";
  std::string output = "table";
  bool follow = false;
};

void show(const v1::Decision& decision, const std::string& output, const Console& console) {
  if (output == "json") {
    console.out << policy::to_json(decision, true);
  } else if (output == "yaml") {
    console.out << "---\n" << policy::to_yaml(decision);
  } else {
    console.out << line(decision, console) << "\n";
  }
  console.out.flush();
}

// The id of the newest decision of all, 0 when there is none.
std::int64_t newest(Client& client) {
  v1::ListDecisionsRequest request;
  request.set_page_size(1);
  const v1::ListDecisionsResponse page = client.call(request);
  return page.decisions_size() > 0 ? page.decisions(0).id() : 0;
}

// Goes on after an interruption of the connection where it was.
[[noreturn]] void follow(Session& session, v1::WatchDecisionsRequest request, const std::string& output) {
  auto pause = 200ms;
  bool lost = false;
  while (true) {
    try {
      session.client().watch(request, [&](const v1::Decision& decision) {
        request.set_after_id(std::max(request.after_id(), decision.id()));
        pause = 200ms;
        lost = false;
        show(decision, output, session.console);
      });
    } catch (const Failure& failure) {
      if (failure.exit_code() != kUnreachable) throw;
      if (!lost) session.console.note(std::string(failure.what()) + "; trying again");
      lost = true;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, 2000ms);
  }
}

}  // namespace

void add_events(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("events", "What was decided, oldest first");
  command->add_option("resource", options->resource, "Only of this resource")->type_name("KIND/NAME");
  command->add_flag("-f,--follow", options->follow, "Go on with what is decided from now on");
  command->add_option("--since", options->since, "From so long ago (10m), or from a time on")
      ->type_name("TIME")
      ->capture_default_str();
  add_service(*command, options->service);
  add_output(*command, options->output, {"table", "json", "yaml"});
  command->callback([options, &session] {
    v1::ListDecisionsRequest request;
    if (!options->resource.empty()) {
      const Resource resource = parse_resource(options->resource);
      request.set_kind(resource.kind);
      request.set_name(resource.name);
    }
    request.set_service(options->service);
    *request.mutable_since() = parse_time_option("--since", options->since);
    v1::WatchDecisionsRequest watch;
    watch.set_kind(request.kind());
    watch.set_name(request.name());
    watch.set_service(request.service());
    // Asked for first, so that nothing falls between the list and the stream.
    if (options->follow) watch.set_after_id(newest(session.client()));
    for (const v1::Decision& decision : list_decisions(session.client(), request)) {
      watch.set_after_id(std::max(watch.after_id(), decision.id()));
      show(decision, options->output, session.console);
    }
    if (options->follow) follow(session, watch, options->output);
  });
}

}  // namespace penstock::cli
