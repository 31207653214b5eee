#include "cli/table.h"

#include <libsmartcols/libsmartcols.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>

namespace penstock::cli {
namespace {

const char* colour_name(Colour colour) {
  switch (colour) {
    case Colour::red:
      return "red";
    case Colour::green:
      return "green";
    case Colour::yellow:
      return "brown";
    case Colour::grey:
      return "darkgray";
    case Colour::bold:
      return "bold";
    case Colour::plain:
      break;
  }
  return nullptr;
}

void check(int result) {
  if (result != 0) throw std::runtime_error("the table cannot be laid out");
}

}  // namespace

std::string format(const Table& table, const Console& console, bool wide, bool headings) {
  if (table.rows.empty()) return "";
  scols_init_debug(0);
  const std::unique_ptr<libscols_table, void (*)(libscols_table*)> scols(scols_new_table(), &scols_unref_table);
  if (!scols) throw std::bad_alloc();
  check(scols_table_set_column_separator(scols.get(), "  "));
  scols_table_enable_noheadings(scols.get(), headings ? 0 : 1);
  scols_table_enable_colors(scols.get(), console.colour ? 1 : 0);
  scols_table_set_termforce(scols.get(), console.terminal ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER);
  if (console.terminal) scols_table_set_termwidth(scols.get(), console.width());
  for (const Column& column : table.columns) {
    if (column.wide && !wide) continue;
    if (!scols_table_new_column(scols.get(), column.name.c_str(), 0, column.right ? SCOLS_FL_RIGHT : 0))
      throw std::bad_alloc();
  }
  for (const auto& row : table.rows) {
    libscols_line* line = scols_table_new_line(scols.get(), nullptr);
    if (!line) throw std::bad_alloc();
    std::size_t shown = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (table.columns[i].wide && !wide) continue;
      check(scols_line_set_data(line, shown, row[i].text.empty() ? "-" : row[i].text.c_str()));
      if (console.colour)
        if (const char* name = colour_name(row[i].colour)) scols_cell_set_color(scols_line_get_cell(line, shown), name);
      ++shown;
    }
  }
  char* text = nullptr;
  check(scols_print_table_to_string(scols.get(), &text));
  const std::unique_ptr<char, void (*)(void*)> owned(text, &std::free);
  std::string result = text ? text : "";
  if (!result.ends_with('\n')) result += '\n';
  return result;
}

}  // namespace penstock::cli
