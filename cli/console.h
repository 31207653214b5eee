#pragma once

#include <ostream>
#include <string>
#include <string_view>

namespace penstock::cli {

enum class Colour { plain, bold, red, green, yellow, grey };

// Where a command writes: data to `out`, messages to `err`.
struct Console {
  std::ostream& out;
  std::ostream& err;
  // Whether `out` is a terminal: then tables fit its width and live views redraw.
  bool terminal = false;
  // Whether colour may be used on `out`, and on `err`.
  bool colour = false;
  bool err_colour = false;

  std::string paint(Colour colour, std::string_view text) const;
  // Columns of the terminal now; 0 when `out` is none.
  int width() const;
  // "error: ..." on `err`, for each line.
  void error(std::string_view message) const;
  // A message that is no error, on `err`.
  void note(std::string_view message) const;
};

// stdout and stderr as they are. No colour with NO_COLOR or TERM=dumb.
Console standard_console();

}  // namespace penstock::cli
