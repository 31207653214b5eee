#include "cli/completion.h"

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/session.h"

namespace penstock::cli {
namespace {

// Words that a command takes besides its subcommands and options.
const std::map<std::string, std::string>& arguments() {
  static const std::map<std::string, std::string> words{
      {" get", "nodes pools upstreams breakers policies"},
      {" describe", "node/ pool/ upstream/ policy/"},
      {" why", "pool/ upstream/ node/"},
      {" events", "pool/ upstream/ node/ policy/"},
      {" history", "policy/"},
      {" rollback", "policy/"},
      {" explain",
       "policy policy.metadata policy.pools policy.routes policy.upstreams policy.upstreams.breaker "
       "scenario scenario.upstreams scenario.upstreams.episodes"},
      {" completion", "bash zsh fish"},
  };
  return words;
}

struct Command {
  // " breaker open"; empty for the program.
  std::string path;
  std::string about;
  std::vector<std::string> subcommands;
  // With their dashes.
  std::vector<std::string> options;
};

void collect(const CLI::App& app, const std::string& path, std::vector<Command>& out) {
  Command command{path, app.get_description(), {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) command.options.push_back("--" + name);
    for (const std::string& name : option->get_snames()) command.options.push_back("-" + name);
  }
  // Every command takes the program's options too.
  if (!path.empty())
    for (const std::string& option : out.front().options)
      if (std::ranges::find(command.options, option) == command.options.end() && option != "--version")
        command.options.push_back(option);
  const auto subcommands = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* subcommand : subcommands) command.subcommands.push_back(subcommand->get_name());
  out.push_back(command);
  for (const CLI::App* subcommand : subcommands) collect(*subcommand, path + " " + subcommand->get_name(), out);
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string bash(const std::vector<Command>& commands) {
  std::string paths;
  std::string cases;
  for (const Command& command : commands) {
    if (!command.path.empty()) paths += (paths.empty() ? "" : "|") + ("\"" + command.path + "\"");
    std::string words = join(command.subcommands);
    if (const auto found = arguments().find(command.path); found != arguments().end()) words += found->second;
    cases += "    \"" + command.path + "\") words=\"" + words + "\" options=\"" + join(command.options) + "\" ;;\n";
  }
  return "_penstockctl() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} path= word words= options=\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    case \"$path $word\" in\n"
         "      " +
         paths +
         ") path=\"$path $word\" ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$path\" in\n" +
         cases +
         "  esac\n"
         "  if [[ $current == -* ]]; then words=$options; fi\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then compopt -o nospace; fi\n"
         "}\n"
         "complete -o default -F _penstockctl penstockctl\n";
}

std::string fish_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') result += '\\';
    result += c;
  }
  return result + "'";
}

std::string fish(const std::vector<Command>& commands) {
  std::string text = "complete -c penstockctl -f\n";
  for (const Command& command : commands) {
    std::string when;
    for (std::size_t at = 0; at < command.path.size();) {
      const std::size_t end = std::min(command.path.find(' ', at + 1), command.path.size());
      when +=
          (when.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + command.path.substr(at + 1, end - at - 1));
      at = end;
    }
    if (when.empty()) when = "__fish_use_subcommand";
    const std::string condition = "complete -c penstockctl -n " + fish_quoted(when);
    for (const std::string& name : command.subcommands) {
      std::string about;
      for (const Command& other : commands)
        if (other.path == command.path + " " + name) about = other.about;
      text += condition + " -a " + name + " -d " + fish_quoted(about) + "\n";
    }
    if (const auto found = arguments().find(command.path); found != arguments().end())
      text += condition + " -a " + fish_quoted(found->second) + "\n";
    for (const std::string& option : command.options) {
      if (option == "-f" || option == "--file") {
        text += condition + (option == "-f" ? " -s f -r -F\n" : " -l file -r -F\n");
      } else {
        text += condition + (option.starts_with("--") ? " -l " + option.substr(2) : " -s " + option.substr(1)) + "\n";
      }
    }
  }
  return text;
}

}  // namespace

std::string completion(const CLI::App& app, const std::string& shell) {
  std::vector<Command> commands;
  collect(app, "", commands);
  if (shell == "fish") return fish(commands);
  return (shell == "zsh" ? "autoload -U +X bashcompinit && bashcompinit\n" : "") + bash(commands);
}

void add_completion(CLI::App& app, Session& session) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "A script that completes commands and options in a shell");
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([shell, &app, &session] { session.console.out << completion(app, *shell) << std::flush; });
}

}  // namespace penstock::cli
