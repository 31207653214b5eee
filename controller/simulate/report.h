#pragma once

#include <string>
#include <vector>

#include "controller/simulate/outcome.h"

// Rows as text. The same rows give the same text.
namespace penstock::simulate {

// One object a row, in an array. What does not apply is null.
std::string to_json(const std::vector<Row>& rows);
// With a line of headings. Verdicts are counted.
std::string to_csv(const std::vector<Row>& rows);

// Rows of one scenario and policy together.
struct Summary {
  std::string scenario;
  std::string policy;
  int seeds = 0;
  // Means, and the worst.
  double goodput = 0;
  double worst_goodput = 0;
  std::optional<double> affected;
  std::optional<double> unaffected;
  std::optional<double> unaffected_p99_ms;
  double shed_normal = 0;
  double wasted = 0;
  double tries = 0;
  double peak_memory_mib = 0;
  int crashes = 0;
  // Means of those that have it.
  std::optional<double> trip_s;
  std::optional<double> recovery_s;
  std::optional<double> knee_s;
  int verdicts = 0;
  int false_verdicts = 0;
};
// In the order in which they first come.
std::vector<Summary> summarize(const std::vector<Row>& rows);

// Whether a verdict says what is not so. That all is well again is never false.
bool is_false(const Concluded& verdict);

}  // namespace penstock::simulate
