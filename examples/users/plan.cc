#include "examples/users/plan.h"

#include <cmath>
#include <random>

namespace users {
namespace {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  // In [0, 1).
  double roll() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  double between(double low, double high) { return low + (high - low) * roll(); }
  double exponential(double mean) { return -mean * std::log1p(-roll()); }

 private:
  std::mt19937_64 engine_;
};

std::string_view pick_path(double roll) {
  for (const Share& share : kTraffic) {
    if (roll < share.share) return share.path;
    roll -= share.share;
  }
  return kTraffic.back().path;
}

}  // namespace

std::vector<User> plan(const std::vector<Phase>& phases, double rate, std::uint64_t seed) {
  Dice dice(seed);
  std::vector<User> users;
  double begin = 0;
  double last_rate = phases.empty() ? rate : phases.front().rate.value_or(rate);
  double arrival = dice.exponential(1 / last_rate);
  for (std::size_t phase = 0; phase < phases.size(); ++phase) {
    const double end = begin + phases[phase].duration;
    const double own_rate = phases[phase].rate.value_or(rate);
    // Of what is left of a wait, which the Poisson process does not remember.
    if (own_rate != last_rate) arrival = begin + (arrival - begin) * last_rate / own_rate;
    last_rate = own_rate;
    for (; arrival < end; arrival += dice.exponential(1 / own_rate)) {
      User user{.arrival = arrival, .phase = static_cast<int>(phase), .path = pick_path(dice.roll())};
      const double refresh = dice.between(3.5, 4.5);
      user.refresh_after = dice.roll() < 0.5 ? refresh : 0;
      for (double& retry : user.retry_after) {
        const double after = dice.between(0.5, 1.5);
        retry = dice.roll() < 0.6 ? after : 0;
      }
      users.push_back(user);
    }
    begin = end;
  }
  return users;
}

}  // namespace users
