#include "cli/text_diff.h"

#include <algorithm>
#include <sstream>
#include <vector>

namespace penstock::cli {
namespace {

constexpr std::size_t kContext = 3;

struct Edit {
  // ' ', '-' or '+'.
  char kind;
  std::string line;
};

std::vector<std::string> split(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// The edits of a longest common subsequence, after common beginnings and endings are set aside.
std::vector<Edit> edits(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::size_t head = 0;
  while (head < a.size() && head < b.size() && a[head] == b[head]) ++head;
  std::size_t tail = 0;
  while (tail < a.size() - head && tail < b.size() - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  const std::size_t n = a.size() - head - tail;
  const std::size_t m = b.size() - head - tail;
  std::vector<std::vector<int>> common(n + 1, std::vector<int>(m + 1, 0));
  for (std::size_t i = n; i-- > 0;)
    for (std::size_t j = m; j-- > 0;)
      common[i][j] =
          a[head + i] == b[head + j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
  std::vector<Edit> result;
  for (std::size_t i = 0; i < head; ++i) result.push_back({' ', a[i]});
  for (std::size_t i = 0, j = 0; i < n || j < m;) {
    if (i < n && j < m && a[head + i] == b[head + j]) {
      result.push_back({' ', a[head + i]});
      ++i, ++j;
    } else if (i < n && (j == m || common[i + 1][j] >= common[i][j + 1])) {
      result.push_back({'-', a[head + i++]});
    } else {
      result.push_back({'+', b[head + j++]});
    }
  }
  for (std::size_t i = a.size() - tail; i < a.size(); ++i) result.push_back({' ', a[i]});
  return result;
}

std::string range(std::size_t start, std::size_t count) {
  return std::to_string(count == 0 ? start : start + 1) + (count == 1 ? "" : "," + std::to_string(count));
}

}  // namespace

std::string unified_diff(const std::string& before, const std::string& after, const std::string& before_name,
                         const std::string& after_name, const Console& console) {
  if (before == after) return "";
  const std::vector<Edit> all = edits(split(before), split(after));
  std::string text = console.paint(Colour::bold, "--- " + before_name) + "\n" +
                     console.paint(Colour::bold, "+++ " + after_name) + "\n";
  std::size_t a = 0;
  std::size_t b = 0;
  for (std::size_t i = 0; i < all.size();) {
    // A hunk reaches from kContext lines before a change to kContext lines after the last one that is near enough.
    std::size_t change = i;
    while (change < all.size() && all[change].kind == ' ') ++change;
    if (change == all.size()) break;
    const std::size_t begin = change - std::min(change - i, kContext);
    a += begin - i;
    b += begin - i;
    std::size_t last = change;
    for (std::size_t k = change; k < all.size() && k <= last + 2 * kContext; ++k)
      if (all[k].kind != ' ') last = k;
    const std::size_t end = std::min(all.size(), last + 1 + kContext);
    std::string body;
    std::size_t from_a = 0;
    std::size_t from_b = 0;
    for (i = begin; i < end; ++i) {
      const Edit& edit = all[i];
      from_a += edit.kind != '+' ? 1 : 0;
      from_b += edit.kind != '-' ? 1 : 0;
      const Colour colour = edit.kind == '-' ? Colour::red : edit.kind == '+' ? Colour::green : Colour::plain;
      body += console.paint(colour, edit.kind + edit.line) + "\n";
    }
    text += "@@ -" + range(a, from_a) + " +" + range(b, from_b) + " @@\n" + body;
    a += from_a;
    b += from_b;
  }
  return text;
}

}  // namespace penstock::cli
