#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Who comes when, and what they will do: fixed by the seed before the first arrival, so that two shops can be given the
// very same users. Times are seconds.
namespace users {

// Answered within it from the first try, or lost.
inline constexpr double kPatience = 10;
inline constexpr int kMaxTries = 4;

struct Phase {
  std::string name;
  double duration;
  // Arrivals per second; unset: those of the plan.
  std::optional<double> rate = {};
};

struct Share {
  std::string_view path;
  double share;
};
inline constexpr std::array<Share, 4> kTraffic{
    {{"/checkout", 0.4}, {"/browse", 0.4}, {"/history", 0.1}, {"/about", 0.1}}};

struct User {
  // Since the start.
  double arrival;
  int phase;
  std::string_view path;
  // From the first try; 0: does not refresh.
  double refresh_after;
  // What they do after their nth error: seconds to the next try; 0: leave.
  std::array<double, kMaxTries - 1> retry_after;
};

// Poisson arrivals at `rate` per second. Half of the users refresh, after 3.5 to 4.5 s; 60 % retry on an error, after
// 0.5 to 1.5 s.
std::vector<User> plan(const std::vector<Phase>& phases, double rate, std::uint64_t seed);

}  // namespace users
