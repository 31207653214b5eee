#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/resource.h"
#include "cli/session.h"
#include "policy/convert.h"

namespace penstock::cli {
namespace {

// What an operator imposes for a time.
struct Options {
  std::string name;
  std::string service;
  std::string ttl;
  std::string reason;
};

void add_common(CLI::App& command, Options& options, bool expires) {
  add_service(command, options.service);
  if (expires)
    command.add_option("--ttl", options.ttl, "How long it holds, 1s to 24h")->required()->type_name("DURATION");
  CLI::Option* reason = command.add_option("--reason", options.reason, "For the log")->type_name("TEXT");
  if (expires) {
    reason->required();
  } else {
    options.reason = "given back by an operator";
    reason->capture_default_str();
  }
}

template <typename Request>
void fill(Request& request, const Options& options) {
  request.set_service(options.service);
  request.set_reason(options.reason);
  if (!options.ttl.empty()) *request.mutable_ttl() = policy::to_proto(parse_duration_option("--ttl", options.ttl));
}

void report(const v1::Override& imposed, const Console& console) {
  console.out << imposed.kind() << "/" << imposed.name();
  if (!imposed.service().empty()) console.out << " of " << imposed.service();
  if (imposed.has_expire_time()) {
    console.out << ": " << imposed.value() << " until " << format_time(imposed.expire_time());
  } else {
    console.out << ": decided automatically again";
  }
  console.out << std::endl;
}

}  // namespace

void add_breaker(CLI::App& app, Session& session) {
  CLI::App* breaker = app.add_subcommand("breaker", "Hold the breaker of an upstream open or closed, or let it decide");
  breaker->require_subcommand(1);
  struct Verb {
    const char* name;
    const char* about;
    v1::BreakerOverride value;
  };
  for (const Verb& verb : {Verb{"open", "Refuse every call", v1::BREAKER_OVERRIDE_FORCE_OPEN},
                           Verb{"close", "Refuse no call", v1::BREAKER_OVERRIDE_FORCE_CLOSED},
                           Verb{"auto", "Let the nodes decide again", v1::BREAKER_OVERRIDE_AUTO}}) {
    auto options = std::make_shared<Options>();
    CLI::App* command = breaker->add_subcommand(verb.name, verb.about);
    command->add_option("upstream", options->name, "Name of the upstream")->required();
    add_common(*command, *options, verb.value != v1::BREAKER_OVERRIDE_AUTO);
    command->callback([options, value = verb.value, &session] {
      v1::SetBreakerRequest request;
      request.set_upstream(options->name);
      request.set_breaker(value);
      fill(request, *options);
      report(session.client().call(request), session.console);
    });
  }
}

void add_pool(CLI::App& app, Session& session) {
  CLI::App* pool = app.add_subcommand("pool", "Impose the limit of a pool, or let the controller decide");
  pool->require_subcommand(1);

  auto options = std::make_shared<Options>();
  auto limit = std::make_shared<int>(0);
  CLI::App* set = pool->add_subcommand("set", "Impose a limit");
  set->add_option("pool", options->name, "Name of the pool")->required();
  set->add_option("--limit", *limit, "Requests in flight on each node")->required()->check(CLI::Range(1, 1'000'000));
  add_common(*set, *options, true);
  set->callback([options, limit, &session] {
    v1::SetPoolLimitRequest request;
    request.set_pool(options->name);
    request.set_limit(*limit);
    fill(request, *options);
    report(session.client().call(request), session.console);
  });

  auto automatic = std::make_shared<Options>();
  CLI::App* release = pool->add_subcommand("auto", "Let the controller decide again");
  release->add_option("pool", automatic->name, "Name of the pool")->required();
  add_common(*release, *automatic, false);
  release->callback([automatic, &session] {
    v1::SetPoolLimitRequest request;
    request.set_pool(automatic->name);
    fill(request, *automatic);
    report(session.client().call(request), session.console);
  });
}

void add_drain(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  auto undo = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("drain", "Take a node out of service: /healthz says so, connections close");
  command->add_option("node", options->name, "Name of the node")->required();
  command->add_flag("--undo", *undo, "Let it take requests again");
  add_service(*command, options->service);
  options->ttl = "1h";
  options->reason = "drained by an operator";
  command->add_option("--ttl", options->ttl, "How long it holds, 1s to 24h")
      ->type_name("DURATION")
      ->capture_default_str();
  command->add_option("--reason", options->reason, "For the log")->type_name("TEXT")->capture_default_str();
  command->callback([options, undo, &session] {
    v1::DrainNodeRequest request;
    request.set_node(options->name);
    request.set_drain(!*undo);
    fill(request, *options);
    if (*undo) request.clear_ttl();
    report(session.client().call(request), session.console);
  });
}

}  // namespace penstock::cli
