#include "controller/simulate/page.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <string_view>

#include "controller/simulate/report.h"

namespace penstock::simulate {
namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 150;
constexpr double kLeft = 36;
constexpr double kTop = 8;
// Seconds over which lines are smoothed.
constexpr int kSmooth = 3;
// Seconds; doubled until no more than so many labels stand on the axis.
constexpr double kLabelEvery = 30;
constexpr double kMostLabels = 12;

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>penstockctl simulate</title>
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin: 2.5rem 0 0; } figure { margin: 0.5rem 0; } svg { width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
div { overflow-x: auto; } th { font-weight: 500; font-size: 0.85em; vertical-align: bottom; }
th, td { padding: 0.1rem 0.5rem; text-align: right; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
.axis { stroke: currentColor; opacity: 0.25; } .trouble { fill: currentColor; opacity: 0.07; }
text { fill: currentColor; font-size: 10px; } path { fill: none; stroke-width: 1.5; }
i { display: inline-block; width: 1em; height: 3px; vertical-align: middle; margin-right: 0.5em; }
</style></head><body>
<h1>penstockctl simulate</h1>
<p>Users answered within their patience from the first try, by the second of that try; mean of the seeds. Shaded: the
trouble. Marks on the axis: verdicts of the first policy, with their words.</p>
)";

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '&') {
      result += "&amp;";
    } else if (c == '"') {
      result += "&quot;";
    } else {
      result += c;
    }
  }
  return result;
}

std::string fixed(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
std::string percent(const std::optional<double>& ratio) { return ratio ? fixed(*ratio * 100, 1) : "-"; }
std::string or_dash(const std::optional<double>& value) { return value ? fixed(*value, 1) : "-"; }

std::string colour(std::size_t index) {
  // Ours in a blue of its own, the others around the circle.
  if (index == 0) return "#2a6fdb";
  return "hsl(" + std::to_string((20 + 137 * index) % 360) + " 60% 50%)";
}

struct Line {
  std::string policy;
  std::vector<const Row*> rows;
};

// Those of one scenario, in the order in which they first come.
std::vector<Line> lines_of(const std::vector<Row>& rows, const std::string& scenario) {
  std::vector<Line> lines;
  for (const Row& row : rows) {
    if (row.scenario != scenario) continue;
    auto line = std::ranges::find(lines, row.policy, &Line::policy);
    if (line == lines.end()) line = lines.insert(lines.end(), {row.policy, {}});
    line->rows.push_back(&row);
  }
  return lines;
}

class Plot {
 public:
  Plot(const Scenario& scenario, bool affected) : duration_(decision::seconds(scenario.duration)), affected_(affected) {
    text_ = std::string("<figure><figcaption>") + (affected ? "users of affected pages" : "other users") +
            ", in %</figcaption><svg viewBox=\"0 0 " + fixed(kLeft + kWidth + 20, 0) + " " +
            fixed(kTop + kHeight + 22, 0) + "\" role=\"img\">\n";
    if (const auto trouble = scenario.trouble()) {
      const double from = x(decision::seconds(trouble->from));
      text_ += "<rect class=\"trouble\" x=\"" + fixed(from, 1) + "\" y=\"" + fixed(kTop, 0) + "\" width=\"" +
               fixed(x(decision::seconds(trouble->to)) - from, 1) + "\" height=\"" + fixed(kHeight, 0) + "\"/>\n";
    }
    for (const double level : {0.0, 0.5, 1.0}) {
      text_ += "<line class=\"axis\" x1=\"" + fixed(kLeft, 0) + "\" x2=\"" + fixed(kLeft + kWidth, 0) + "\" y1=\"" +
               fixed(y(level), 1) + "\" y2=\"" + fixed(y(level), 1) + "\"/><text x=\"0\" y=\"" +
               fixed(y(level) + 3, 1) + "\">" + fixed(level * 100, 0) + " %</text>\n";
    }
    double step = kLabelEvery;
    while (duration_ / step > kMostLabels) step *= 2;
    for (double t = 0; t <= duration_; t += step) {
      text_ += "<text x=\"" + fixed(x(t) - 8, 1) + "\" y=\"" + fixed(kTop + kHeight + 20, 0) + "\">" + fixed(t, 0) +
               " s</text>\n";
    }
  }

  void add(const Line& line, const std::string& colour) {
    std::string path;
    const auto seconds = static_cast<int>(duration_);
    for (int s = 0; s < seconds; ++s) {
      double served = 0, all = 0;
      for (const Row* row : line.rows) {
        for (int k = std::max(0, s - kSmooth / 2); k <= std::min(seconds - 1, s + kSmooth / 2); ++k) {
          const Second& second = row->series[static_cast<std::size_t>(k)];
          served += affected_ ? second.affected_served : second.others_served;
          all += affected_ ? second.affected : second.others;
        }
      }
      if (all > 0) path += (path.empty() ? "M" : "L") + fixed(x(s), 1) + " " + fixed(y(served / all), 1);
    }
    text_ += "<path stroke=\"" + colour + "\" d=\"" + path + "\"><title>" + escaped(line.policy) + "</title></path>\n";
  }

  void mark(const Line& line) {
    // Nodes come to the same verdict at about the same time: one mark a second.
    std::set<std::pair<int, Cause>> marked;
    for (const Concluded& verdict : line.rows.front()->verdicts) {
      if (!marked.insert({static_cast<int>(verdict.time), verdict.cause}).second) continue;
      text_ += "<circle cx=\"" + fixed(x(verdict.time), 1) + "\" cy=\"" + fixed(y(0) + 5, 1) + "\" r=\"3\" fill=\"" +
               (is_false(verdict) ? "#d22" : "#888") + "\"><title>" + fixed(verdict.time, 1) + " s, " +
               escaped(verdict.upstream) + ": " + std::string(to_string(verdict.cause)) + ", and is " +
               std::string(to_string(verdict.truth)) + ". " + escaped(verdict.message) + "</title></circle>\n";
    }
  }

  std::string done() { return text_ + "</svg></figure>\n"; }

 private:
  double x(double t) const { return kLeft + kWidth * t / duration_; }
  static double y(double ratio) { return kTop + kHeight * (1 - ratio); }

  const double duration_;
  const bool affected_;
  std::string text_;
};

std::string figures(const std::vector<Summary>& summaries, const std::string& scenario) {
  std::string text =
      "<div><table><tr><th>policy<th>goodput %<th>worst<th>affected<th>others<th>p99 ms<th>shed %<th>in vain %<th>tries"
      "<th>MiB<th>crashes<th>trip s<th>recovery s<th>knee s<th>verdicts<th>false</tr>\n";
  std::size_t index = 0;
  for (const Summary& sum : summaries) {
    if (sum.scenario != scenario) continue;
    text += "<tr><td><i style=\"background: " + colour(index++) + "\"></i>" + escaped(sum.policy);
    for (const std::string& cell :
         {fixed(sum.goodput * 100, 1), fixed(sum.worst_goodput * 100, 1), percent(sum.affected),
          percent(sum.unaffected), or_dash(sum.unaffected_p99_ms), fixed(sum.shed_normal * 100, 3),
          fixed(sum.wasted * 100, 1), fixed(sum.tries, 2), fixed(sum.peak_memory_mib, 0), std::to_string(sum.crashes),
          or_dash(sum.trip_s), or_dash(sum.recovery_s), or_dash(sum.knee_s), std::to_string(sum.verdicts),
          std::to_string(sum.false_verdicts)}) {
      text += "<td>" + cell;
    }
    text += "</tr>\n";
  }
  return text + "</table></div>\n";
}

}  // namespace

std::string to_html(const std::vector<Row>& rows, const std::deque<Scenario>& scenarios) {
  std::string text(kHead);
  const std::vector<Summary> summaries = summarize(rows);
  for (const Scenario& scenario : scenarios) {
    const std::vector<Line> lines = lines_of(rows, scenario.name);
    if (lines.empty()) continue;
    text += "<h2>" + escaped(scenario.name) + "</h2>\n<p>" + escaped(scenario.about) + "</p>\n";
    for (const bool affected : {true, false}) {
      if (std::ranges::none_of(scenario.pages, [&](const PageModel& page) { return page.affected == affected; })) {
        continue;
      }
      Plot plot(scenario, affected);
      // Ours on top.
      for (std::size_t i = lines.size(); i-- > 0;) plot.add(lines[i], colour(i));
      plot.mark(lines.front());
      text += plot.done();
    }
    text += figures(summaries, scenario.name);
  }
  return text + "</body></html>\n";
}

}  // namespace penstock::simulate
