#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "controller/simulate/rivals/composed.h"

// The table of rivals: published ways to protect a service, each as its source has it, and once more in a fair form
// ("NAME-fair"): before each upstream instead of at the door, with raised caps, and with the deadlines and the
// cancellation that Penstock has. Where the source's project has a queue of its own for its limiter, the fair form
// has it, too. "Deadlines" of a description are with cancellation and on fibers.
namespace penstock::simulate {

struct Rival {
  std::string_view name;
  // Project or document, where in it, and of when.
  std::string_view source;
  // What stands where.
  std::string_view composed;
  Composition composition;
};

const std::vector<Rival>& rivals();

// The names of `--rivals`: "all", "none", or a list with commas; in the order of the table, each once. Throws
// std::invalid_argument, which lists the known names, for others.
std::vector<const Rival*> parse_rivals(std::string_view list);

}  // namespace penstock::simulate
