#include "controller/simulate/run.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/policy_file.h"
#include "cli/replay.h"
#include "cli/session.h"
#include "controller/simulate/page.h"
#include "controller/simulate/random_scenario.h"
#include "controller/simulate/report.h"
#include "controller/simulate/rivals/rivals.h"
#include "controller/simulate/scenario_file.h"
#include "policy/convert.h"
#include "policy/fields.h"
#include "policy/text.h"

namespace penstock::cli {
namespace {

using simulate::Contender;
using simulate::Row;
using simulate::Scenario;

constexpr const char* kOurs = "penstock";
constexpr std::string_view kRandom = "random:";
constexpr std::uint64_t kMostDrawn = 100'000;

struct SimulateOptions {
  std::string file;
  std::vector<std::string> scenarios{"all"};
  std::vector<std::string> rivals;
  int seeds = 3;
  std::uint64_t first_seed = 1;
  unsigned threads = 0;
  std::string output = "table";
  bool list = false;
  bool show = false;
};

Scenario parse(std::string_view text, const std::string& shown) {
  simulate::ParsedScenario parsed = simulate::parse_scenario(text);
  std::string problems;
  for (const policy::Problem& problem : parsed.problems) {
    problems += (problems.empty() ? "" : "\n") + policy::to_string(problem, shown);
  }
  if (!problems.empty()) throw Failure(kInvalidPolicy, problems);
  return std::move(*parsed.scenario);
}

struct ScenarioText {
  std::string shown;
  std::string text;
};

// "random:7", or "random:1-500" for all of these.
void draw_scenarios(const std::string& range, std::vector<ScenarioText>& out) {
  const std::size_t dash = range.find('-');
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  const bool valid =
      policy::parse_number(std::string_view(range).substr(0, dash), first) &&
      (dash == std::string::npos || policy::parse_number(std::string_view(range).substr(dash + 1), last));
  if (dash == std::string::npos) last = first;
  if (!valid || last < first || last - first >= kMostDrawn) {
    throw Failure(kUsage, "--scenario: \"random:" + range + "\" is not as in random:7 or random:1-500");
  }
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    out.push_back({"random:" + std::to_string(seed), simulate::random_scenario(seed)});
  }
}

// Names that the program brings along, files, random ones, or "all".
void read_scenario(const std::string& wanted, std::vector<ScenarioText>& out) {
  if (wanted.starts_with(kRandom)) return draw_scenarios(wanted.substr(kRandom.size()), out);
  const auto& embedded = simulate::embedded_scenarios();
  std::vector<std::string> names;
  for (const auto& [name, text] : embedded) {
    names.emplace_back(name);
    if (wanted == name || wanted == "all") out.push_back({std::string(name) + ".yaml", std::string(text)});
  }
  if (wanted == "all" || std::ranges::find(names, wanted) != names.end()) return;
  std::ifstream file(wanted, std::ios::binary);
  std::error_code ignored;
  if (!file || std::filesystem::is_directory(wanted, ignored)) {
    throw Failure(kUsage, "--scenario: \"" + wanted + "\" is no scenario and no file" +
                              policy::suggestion(wanted, names) + "; see penstockctl simulate --list");
  }
  out.push_back({wanted, std::string(std::istreambuf_iterator<char>(file), {})});
}

// Ours first.
std::vector<const Contender*> find_contenders(const std::vector<std::string>& wanted) {
  std::set<std::string_view> names{kOurs};
  for (const std::string& name : wanted) {
    try {
      for (const simulate::Rival* rival : simulate::parse_rivals(name)) names.insert(rival->name);
    } catch (const std::invalid_argument& error) {
      throw Failure(kUsage, std::string("--rivals: ") + error.what());
    }
  }
  std::vector<const Contender*> found;
  for (const Contender& contender : simulate::contenders()) {
    if (names.contains(contender.name)) found.push_back(&contender);
  }
  std::ranges::stable_partition(found, [](const Contender* contender) { return contender->name == kOurs; });
  return found;
}

std::string percent(double ratio, int digits = 1) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, ratio * 100);
  return text;
}
std::string rounded(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
template <class Format>
std::string or_dash(const std::optional<double>& value, Format format) {
  return value ? format(*value) : "-";
}

Table make_table(const std::vector<Row>& rows) {
  Table table;
  table.columns = {{"SCENARIO"},         {"POLICY"},        {"GOODPUT", true}, {"WORST", true},      {"AFFECTED", true},
                   {"OTHERS", true},     {"P99_MS", true},  {"SHED", true},    {"WASTED", true},     {"TRIES", true},
                   {"MEMORY_MIB", true}, {"CRASHES", true}, {"TRIP_S", true},  {"RECOVERY_S", true}, {"KNEE_S", true},
                   {"VERDICTS", true},   {"FALSE", true}};
  const auto ratio = [](double value) { return percent(value); };
  const auto one = [](double value) { return rounded(value, 1); };
  const auto whole = [](double value) { return rounded(value, 0); };
  for (const simulate::Summary& sum : simulate::summarize(rows)) {
    table.rows.push_back({sum.scenario, sum.policy, percent(sum.goodput), percent(sum.worst_goodput),
                          or_dash(sum.affected, ratio), or_dash(sum.unaffected, ratio),
                          or_dash(sum.unaffected_p99_ms, whole), percent(sum.shed_normal, 3), percent(sum.wasted),
                          rounded(sum.tries, 2), rounded(sum.peak_memory_mib, 0), std::to_string(sum.crashes),
                          or_dash(sum.trip_s, one), or_dash(sum.recovery_s, one), or_dash(sum.knee_s, one),
                          std::to_string(sum.verdicts), std::to_string(sum.false_verdicts)});
  }
  return table;
}

void list(const Console& console) {
  Table table;
  table.columns = {{"SCENARIO"}, {"WHAT"}};
  for (const auto& [name, text] : simulate::embedded_scenarios()) {
    table.rows.push_back({std::string(name), parse(text, std::string(name)).about});
  }
  console.out << format(table, console, false) << "\n";
  table = {{{"POLICY"}, {"WHAT"}, {"SOURCE"}}, {}};
  for (const Contender& contender : simulate::contenders()) {
    const auto rival = std::ranges::find(simulate::rivals(), contender.name, &simulate::Rival::name);
    const bool found = rival != simulate::rivals().end();
    table.rows.push_back({contender.name, contender.about, found ? std::string(rival->source) : "-"});
  }
  console.out << format(table, console, false) << std::flush;
}

void simulate_all(const SimulateOptions& options, const Console& console) {
  if (options.list) return list(console);
  std::vector<ScenarioText> texts;
  for (const std::string& wanted : options.scenarios) read_scenario(wanted, texts);
  if (options.show) {
    for (const ScenarioText& text : texts) console.out << (&text == texts.data() ? "" : "---\n") << text.text;
    return;
  }
  std::deque<Scenario> scenarios;
  for (const ScenarioText& text : texts) scenarios.push_back(parse(text.text, text.shown));
  if (!options.file.empty()) {
    const std::vector<PolicyInFile> policies = read_policies({options.file});
    if (policies.size() != 1) throw Failure(kUsage, options.file + ": holds several policies, expected one");
    const auto policy = policy::to_decision(policies.front().policy);
    if (!policy.ok()) throw Failure(kInvalidPolicy, std::string(policy.status().message()));
    std::set<std::string> unnamed;
    for (Scenario& scenario : scenarios) {
      simulate::adopt(scenario, *policy);
      for (const simulate::UpstreamModel& upstream : scenario.upstreams) {
        const auto named = std::ranges::find(policy->upstreams, upstream.name, &decision::UpstreamPolicy::name);
        if (named == policy->upstreams.end()) unnamed.insert(upstream.name);
      }
    }
    for (const std::string& name : unnamed) {
      console.note("the policy names no upstream \"" + name + "\": calls to it are not guarded");
    }
  }
  std::vector<simulate::Job> jobs;
  const std::vector<const Contender*> found = find_contenders(options.rivals);
  for (const Scenario& scenario : scenarios) {
    for (const Contender* contender : found) {
      for (int i = 0; i < options.seeds; ++i) {
        jobs.push_back({&scenario, contender, options.first_seed + static_cast<std::uint64_t>(i)});
      }
    }
  }
  const unsigned threads = options.threads > 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  std::size_t count = 0;
  const auto progress = [&](const Row& row) {
    ++count;
    if (!console.terminal) return;
    console.err << "\r\033[K" << count << " of " << jobs.size() << " runs: " << row.scenario << ", " << row.policy
                << std::flush;
    if (count == jobs.size()) console.err << "\r\033[K" << std::flush;
  };
  const std::vector<Row> rows = simulate::run_all(jobs, threads, progress);
  if (options.output == "json") {
    console.out << simulate::to_json(rows);
  } else if (options.output == "csv") {
    console.out << simulate::to_csv(rows);
  } else if (options.output == "html") {
    console.out << simulate::to_html(rows, scenarios);
  } else {
    console.out << format(make_table(rows), console, false);
  }
  console.out.flush();
}

}  // namespace

void add_simulate(CLI::App& app, Session& session) {
  auto options = std::make_shared<SimulateOptions>();
  CLI::App* command = app.add_subcommand("simulate", "What a policy would do: invented troubles, the real decisions");
  command->add_option("-f,--file", options->file, "Policy file; - reads stdin. Default: the scenario's")
      ->type_name("FILE");
  command
      ->add_option("--scenario", options->scenarios, "Scenarios by name or file, random:SEED or random:FIRST-LAST; all")
      ->delimiter(',')
      ->type_name("NAME|FILE")
      ->capture_default_str();
  command->add_option("--rivals", options->rivals, "What to compare with: all, none, or names")
      ->delimiter(',')
      ->type_name("NAME");
  command->add_option("--seeds", options->seeds, "Runs of each")->check(CLI::Range(1, 100000))->capture_default_str();
  command->add_option("--first-seed", options->first_seed, "The others count on from it")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Runs at the same time. Default: as many as there are cores")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--list", options->list, "Show the scenarios and rivals there are");
  command->add_flag("--show", options->show, "Show the texts of the scenarios instead of running them");
  add_output(*command, options->output, {"table", "json", "csv", "html"});
  auto recorded = std::make_shared<ReplayOptions>();
  CLI::Option* from = command->add_option("--from", recorded->from,
                                          "Instead of scenarios: what Prometheus recorded from so long ago (2h), or "
                                          "from a time on; beside what was decided");
  from->type_name("TIME");
  command->add_option("--to", recorded->to, "With --from: until then. Default: now")->type_name("TIME")->needs(from);
  command->add_option("--prometheus", recorded->prometheus.url, "With --from: where it was recorded")
      ->type_name("URL")
      ->capture_default_str();
  command
      ->add_option("--prometheus-ca", recorded->prometheus.ca_file,
                   "With --from: CAs that are trusted besides the system's when that is https://, PEM")
      ->type_name("FILE");
  command->add_option("--step", recorded->step, "With --from: between two samples; how often Prometheus scrapes")
      ->capture_default_str();
  command->callback([options, recorded, &session] {
    if (recorded->from.empty()) return simulate_all(*options, session.console);
    if (options->output != "table" && options->output != "json")
      throw Failure(kUsage, "-o: with --from, table or json");
    recorded->file = options->file;
    recorded->output = options->output;
    replay(*recorded, session);
  });
}

}  // namespace penstock::cli
