// Users of a shop: open-loop arrivals, with the patience and the habits of people.
#include <arpa/inet.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "examples/users/crowd.h"
#include "examples/users/plan.h"

namespace {

sockaddr_in parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  int port = 0;
  if (colon == text.npos || inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1 ||
      !CLI::detail::lexical_cast(text.substr(colon + 1), port) || port < 1 || port > 65535) {
    throw CLI::ValidationError("--shop", text + ": not an IPv4 address and port");
  }
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

users::Phase parse_phase(const std::string& text) {
  const std::size_t equals = text.find('=');
  users::Phase phase{text.substr(0, equals), 0};
  const std::size_t at = text.find('@', equals == text.npos ? 0 : equals);
  const bool has_rate = at != text.npos;
  bool valid = equals != text.npos &&
               CLI::detail::lexical_cast(text.substr(equals + 1, has_rate ? at - equals - 1 : at), phase.duration) &&
               phase.duration > 0 && phase.name.find_first_of("\"\\") == text.npos;
  if (has_rate) {
    valid = valid && CLI::detail::lexical_cast(text.substr(at + 1), phase.rate.emplace()) && *phase.rate >= 0.1 &&
            *phase.rate <= 10000;
  }
  if (!valid) throw CLI::ValidationError("--phase", text + ": not NAME=SECONDS[@RATE]");
  return phase;
}

}  // namespace

int main(int argc, char** argv) {
  std::string shop;
  double rate = 300;
  std::uint64_t seed = 1;
  std::vector<std::string> phase_texts;
  std::string records_path;
  CLI::App app("Users of a shop. Writes progress to standard output as JSON lines.", "shop-users");
  app.add_option("--shop", shop, "address:port")->required();
  app.add_option("--rate", rate, "arrivals per second")->capture_default_str()->check(CLI::Range(0.1, 10000.0));
  app.add_option("--seed", seed, "same seed, same users")->capture_default_str();
  app.add_option("--phase", phase_texts, "NAME=SECONDS[@RATE]; repeat for each phase, in order")->required();
  app.add_option("--records", records_path, "file for one JSON line per user")->required();
  try {
    app.parse(argc, argv);
    std::vector<users::Phase> phases;
    for (const std::string& text : phase_texts) phases.push_back(parse_phase(text));
    users::CrowdOptions options{.shop = parse_address(shop), .progress = stdout};
    options.records = std::fopen(records_path.c_str(), "w");
    if (!options.records) throw CLI::FileError(records_path + ": cannot write");

    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    std::vector<users::User> plan = users::plan(phases, rate, seed);
    users::Crowd(options, std::move(phases), std::move(plan)).run();
    return std::fclose(options.records) == 0 ? 0 : 1;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "shop-users: %s\n", error.what());
    return 1;
  }
}
