#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "agents/run/settings.h"
#include "agents/run/target.h"

// penstock-run: starts an unmodified program so that its threads become fibers, and becomes that program.
namespace penstock::run {
namespace {

constexpr int kNotFound = 127;
constexpr int kUsage = 2;

// Beside the launcher as it is built, or where it is installed.
std::filesystem::path find_library(const char* name) {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const auto& candidate : {folder / name, folder / ".." / PENSTOCK_LIBRARY_FOLDER / "penstock" / name}) {
    if (std::filesystem::exists(candidate)) return std::filesystem::canonical(candidate);
  }
  throw std::runtime_error(std::string(name) + " is neither beside penstock-run nor in " PENSTOCK_LIBRARY_FOLDER
                                               "/penstock");
}

void preload(const std::string& library) {
  const char* others = std::getenv("LD_PRELOAD");
  const std::string all = others != nullptr && *others != '\0' ? library + ":" + others : library;
  ::setenv("LD_PRELOAD", all.c_str(), 1);
}

// "HOST:PORT", or a port.
void parse_address(const std::string& text, Settings& settings) {
  const std::size_t colon = text.rfind(':');
  const std::string port = colon == text.npos ? text : text.substr(colon + 1);
  if (colon != text.npos) settings.address = text.substr(0, colon);
  std::size_t used = 0;
  const unsigned long number = port.empty() || port[0] < '0' || port[0] > '9' ? 65536 : std::stoul(port, &used);
  if (number > 65535 || used != port.size() || settings.address.empty()) {
    throw CLI::ValidationError("--listen", "must be a port, or an address and a port: " + text);
  }
  settings.port = static_cast<unsigned short>(number);
}

// What follows it is its own.
int find_first_of_program(int argc, char** argv) {
  int at = 1;
  while (at < argc && argv[at][0] == '-') {
    const std::string_view option = argv[at++];
    if (option == "--") break;
    const bool has_value = option.find('=') != option.npos;
    const bool is_flag = option == "--stats" || option == "--help" || option == "-h";
    if (!has_value && !is_flag && at < argc) ++at;
  }
  return at;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Runs an unmodified program with its threads as fibers: what waits costs kilobytes, its third parties are\n"
      "guarded, and it is a node of the fleet. A program that cannot be helped is said so, and run unchanged.");
  app.footer("PROGRAM [ARGUMENTS...] comes after the options.");
  Settings settings;
  std::string listen = "127.0.0.1:0";
  std::vector<std::string> program;
  app.add_option("--service", settings.service, "Name of the service, as policies have it; the program's by default");
  app.add_option("--policy", settings.policy_file, "Policy in force until a controller has another (YAML)")
      ->check(CLI::ExistingFile);
  app.add_option("--controller", settings.controller, "Address of the controller to join (host:port)");
  app.add_option("--node", settings.node,
                 "Name of the node; that of the machine by default. Processes add their number");
  app.add_option("--listen", listen,
                 "Where each process serves /metrics and /debug/fibers. Port 0 takes a free one, which the log tells")
      ->capture_default_str();
  app.add_option("--threads", settings.threads,
                 "Threads of the kernel in each process, on which the program's are placed in turn")
      ->check(CLI::Range(1U, kMostThreads))
      ->capture_default_str();
  app.add_option(
         "--plain-threads", settings.plain_threads,
         "Part of the file name of a library whose own threads stay the kernel's, since they compute or wait in\n"
         "ways of their own; may be given again. Those of OpenBLAS, BLIS, MKL, TBB and OpenMP do anyway")
      ->check([](const std::string& name) {
        return name.empty() || name.find_first_of("/:") != name.npos ? "must be a part of a file's name: " + name : "";
      });
  app.add_flag("--stats", settings.stats, "Tell at the end of each process what it did");
  try {
    const int first = find_first_of_program(argc, argv);
    app.parse(first, argv);
    program.assign(argv + first, argv + argc);
    if (program.empty()) throw CLI::RequiredError("PROGRAM");
    parse_address(listen, settings);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kUsage;
  }
  std::vector<char*> arguments;
  for (std::string& word : program) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  try {
    const std::string path = find_program(program[0]);
    if (settings.service.empty()) settings.service = std::filesystem::path(path).filename().string();
    const std::string objection = objection_to(path);
    if (!objection.empty()) {
      std::fprintf(stderr, "penstock-run: runs it unchanged: %s\n", objection.c_str());
    } else {
      const bool joins = !settings.policy_file.empty() || !settings.controller.empty();
      if (!settings.policy_file.empty()) settings.policy_file = std::filesystem::absolute(settings.policy_file);
      preload(find_library(joins ? "libpenstock-run-joined.so" : "libpenstock-run.so"));
      settings.publish();
    }
    ::execv(path.c_str(), arguments.data());
    throw std::system_error(errno, std::generic_category(), path);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "penstock-run: %s\n", error.what());
    return kNotFound;
  }
}

}  // namespace
}  // namespace penstock::run

int main(int argc, char** argv) { return penstock::run::run(argc, argv); }
