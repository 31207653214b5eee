#include "cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

namespace penstock::cli {
namespace {

const char* code(Colour colour) {
  switch (colour) {
    case Colour::bold:
      return "\033[1m";
    case Colour::red:
      return "\033[31m";
    case Colour::green:
      return "\033[32m";
    case Colour::yellow:
      return "\033[33m";
    case Colour::grey:
      return "\033[90m";
    case Colour::plain:
      break;
  }
  return "";
}

std::string painted(Colour colour, std::string_view text) { return code(colour) + std::string(text) + "\033[0m"; }

}  // namespace

std::string Console::paint(Colour wanted, std::string_view text) const {
  return colour && wanted != Colour::plain ? painted(wanted, text) : std::string(text);
}

int Console::width() const {
  if (!terminal) return 0;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

void Console::error(std::string_view message) const {
  while (!message.empty()) {
    const std::string_view line = message.substr(0, message.find('\n'));
    message.remove_prefix(std::min(line.size() + 1, message.size()));
    err << (err_colour ? painted(Colour::red, "error:") : "error:") << " " << line << "\n";
  }
  err.flush();
}

void Console::note(std::string_view message) const { err << message << std::endl; }

Console standard_console() {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* type = std::getenv("TERM");
  const bool may = (!no_colour || !*no_colour) && type && std::string_view(type) != "dumb";
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  return {std::cout, std::cerr, terminal, terminal && may, isatty(STDERR_FILENO) != 0 && may};
}

}  // namespace penstock::cli
