#pragma once

#include <string>
#include <vector>

#include "cli/console.h"

namespace penstock::cli {

struct Column {
  std::string name;
  bool right = false;
  // Shown with -o wide only.
  bool wide = false;
};

struct Cell {
  Cell(std::string text, Colour colour = Colour::plain) : text(std::move(text)), colour(colour) {}  // NOLINT
  Cell(const char* text) : text(text) {}                                                            // NOLINT
  std::string text;
  Colour colour;
  bool operator==(const Cell&) const = default;
};

struct Table {
  std::vector<Column> columns;
  // As many cells as columns each.
  std::vector<std::vector<Cell>> rows;
};

// Aligned; within the terminal's width, if `console` is one. Nothing at all for no rows.
std::string format(const Table& table, const Console& console, bool wide, bool headings = true);

}  // namespace penstock::cli
