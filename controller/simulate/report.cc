#include "controller/simulate/report.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string_view>

namespace penstock::simulate {
namespace {

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}
std::string number(const std::optional<double>& value, const char* none) { return value ? number(*value) : none; }

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      result += escaped;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

struct Field {
  const char* name;
  std::function<std::string(const Row&, const char* none)> value;
};

const std::vector<Field>& fields() {
  using Values = std::string (*)(const Row&, const char*);
  static const std::vector<Field> all{
      {"seed", Values([](const Row& row, const char*) { return std::to_string(row.seed); })},
      {"goodput", Values([](const Row& row, const char*) { return number(row.goodput); })},
      {"affected_goodput", Values([](const Row& row, const char* none) { return number(row.affected_goodput, none); })},
      {"unaffected_goodput",
       Values([](const Row& row, const char* none) { return number(row.unaffected_goodput, none); })},
      {"unaffected_p99_ms",
       Values([](const Row& row, const char* none) { return number(row.unaffected_p99_ms, none); })},
      {"shed_normal", Values([](const Row& row, const char*) { return number(row.shed_normal); })},
      {"wasted_call_ratio", Values([](const Row& row, const char*) { return number(row.wasted_call_ratio); })},
      {"tries_per_user", Values([](const Row& row, const char*) { return number(row.tries_per_user); })},
      {"peak_memory_mib", Values([](const Row& row, const char*) { return number(row.peak_memory_mib); })},
      {"crashes", Values([](const Row& row, const char*) { return std::to_string(row.crashes); })},
      {"trip_s", Values([](const Row& row, const char* none) { return number(row.trip_s, none); })},
      {"recovery_s", Values([](const Row& row, const char* none) { return number(row.recovery_s, none); })},
      {"knee_s", Values([](const Row& row, const char* none) { return number(row.knee_s, none); })},
      {"users", Values([](const Row& row, const char*) { return std::to_string(row.users); })},
      {"calls", Values([](const Row& row, const char*) { return std::to_string(row.calls); })},
      {"events", Values([](const Row& row, const char*) { return std::to_string(row.events); })},
  };
  return all;
}

std::string to_json(const Concluded& verdict) {
  return "{\"time\": " + number(verdict.time) + ", \"node\": " + std::to_string(verdict.node) +
         ", \"upstream\": " + quoted(verdict.upstream) + ", \"verdict\": " + quoted(to_string(verdict.cause)) +
         ", \"truth\": " + quoted(to_string(verdict.truth)) + ", \"message\": " + quoted(verdict.message) + "}";
}

void add(std::optional<double>& sum, const std::optional<double>& value) {
  if (value) sum = sum.value_or(0) + *value;
}

}  // namespace

std::string to_json(const std::vector<Row>& rows) {
  std::string text = "[";
  for (const Row& row : rows) {
    text += text.size() > 1 ? ",\n " : "\n ";
    text += "{\"scenario\": " + quoted(row.scenario) + ", \"policy\": " + quoted(row.policy);
    for (const Field& field : fields()) text += std::string(", \"") + field.name + "\": " + field.value(row, "null");
    text += ", \"verdicts\": [";
    for (const Concluded& verdict : row.verdicts)
      text += (&verdict == row.verdicts.data() ? "" : ", ") + to_json(verdict);
    text += "]}";
  }
  return text + "\n]\n";
}

std::string to_csv(const std::vector<Row>& rows) {
  std::string text = "scenario,policy";
  for (const Field& field : fields()) text += std::string(",") + field.name;
  text += ",verdicts,false_verdicts\n";
  for (const Row& row : rows) {
    text += row.scenario + "," + row.policy;
    for (const Field& field : fields()) text += "," + field.value(row, "");
    text += "," + std::to_string(row.verdicts.size()) + "," +
            std::to_string(std::ranges::count_if(row.verdicts, is_false)) + "\n";
  }
  return text;
}

bool is_false(const Concluded& verdict) {
  switch (verdict.cause) {
    case Cause::none:
    case Cause::unidentified:
      return false;
    case Cause::theirs:
      return verdict.truth != Truth::theirs && verdict.truth != Truth::dead;
    case Cause::ours:
      return verdict.truth != Truth::ours;
    // Said of what refuses calls: right as far as it goes where it is this service that fills it.
    case Cause::full:
      return verdict.truth != Truth::full && verdict.truth != Truth::ours;
    case Cause::dead:
      return verdict.truth != Truth::dead;
  }
  return true;
}

std::vector<Summary> summarize(const std::vector<Row>& rows) {
  std::vector<Summary> result;
  struct Counts {
    int affected = 0, unaffected = 0, p99 = 0, trip = 0, recovery = 0, knee = 0;
  };
  std::vector<Counts> counts;
  for (const Row& row : rows) {
    auto found = std::ranges::find_if(
        result, [&](const Summary& sum) { return sum.scenario == row.scenario && sum.policy == row.policy; });
    if (found == result.end()) {
      result.push_back({.scenario = row.scenario, .policy = row.policy, .worst_goodput = 1});
      counts.emplace_back();
      found = std::prev(result.end());
    }
    Summary& sum = *found;
    Counts& count = counts[static_cast<std::size_t>(found - result.begin())];
    ++sum.seeds;
    sum.goodput += row.goodput;
    sum.worst_goodput = std::min(sum.worst_goodput, row.goodput);
    const auto mean = [](std::optional<double>& to, int& n, const std::optional<double>& value) {
      add(to, value);
      n += value.has_value();
    };
    mean(sum.affected, count.affected, row.affected_goodput);
    mean(sum.unaffected, count.unaffected, row.unaffected_goodput);
    mean(sum.unaffected_p99_ms, count.p99, row.unaffected_p99_ms);
    mean(sum.trip_s, count.trip, row.trip_s);
    mean(sum.recovery_s, count.recovery, row.recovery_s);
    mean(sum.knee_s, count.knee, row.knee_s);
    sum.shed_normal += row.shed_normal;
    sum.wasted += row.wasted_call_ratio;
    sum.tries += row.tries_per_user;
    sum.peak_memory_mib = std::max(sum.peak_memory_mib, row.peak_memory_mib);
    sum.crashes += row.crashes;
    sum.verdicts += static_cast<int>(row.verdicts.size());
    sum.false_verdicts += static_cast<int>(std::ranges::count_if(row.verdicts, is_false));
  }
  for (std::size_t i = 0; i < result.size(); ++i) {
    Summary& sum = result[i];
    const auto divide = [](std::optional<double>& value, int n) {
      if (value) *value /= n;
    };
    divide(sum.affected, counts[i].affected);
    divide(sum.unaffected, counts[i].unaffected);
    divide(sum.unaffected_p99_ms, counts[i].p99);
    divide(sum.trip_s, counts[i].trip);
    divide(sum.recovery_s, counts[i].recovery);
    divide(sum.knee_s, counts[i].knee);
    for (double* value : {&sum.goodput, &sum.shed_normal, &sum.wasted, &sum.tries}) *value /= sum.seeds;
  }
  return result;
}

}  // namespace penstock::simulate
