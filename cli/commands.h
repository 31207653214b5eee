#pragma once

namespace CLI {
class App;
}

namespace penstock::cli {

class Session;

// Each adds its commands to the program; their callbacks use the session.
void add_status(CLI::App& app, Session& session);
void add_top(CLI::App& app, Session& session);
void add_why(CLI::App& app, Session& session);
void add_events(CLI::App& app, Session& session);
void add_describe(CLI::App& app, Session& session);
void add_explain(CLI::App& app, Session& session);
void add_validate(CLI::App& app, Session& session);
void add_diff(CLI::App& app, Session& session);
void add_apply(CLI::App& app, Session& session);
void add_get(CLI::App& app, Session& session);
void add_history(CLI::App& app, Session& session);
void add_rollback(CLI::App& app, Session& session);
void add_breaker(CLI::App& app, Session& session);
void add_pool(CLI::App& app, Session& session);
void add_drain(CLI::App& app, Session& session);
void add_simulate(CLI::App& app, Session& session);
void add_version(CLI::App& app, Session& session);
void add_completion(CLI::App& app, Session& session);

}  // namespace penstock::cli
