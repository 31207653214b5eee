#include "controller/simulate/random.h"

#include <bit>
#include <cmath>

namespace penstock::simulate {
namespace {

std::uint64_t split_mix(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// FNV-1a.
std::uint64_t hash(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return h;
}

}  // namespace

Random::Random(std::uint64_t seed, std::string_view stream) {
  std::uint64_t mixed = seed;
  mixed = split_mix(mixed) ^ hash(stream);
  for (std::uint64_t& word : state_) word = split_mix(mixed);
}

std::uint64_t Random::bits() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

double Random::exponential(double mean) { return -mean * std::log1p(-uniform()); }

double Random::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  double u, v, s;
  do {
    u = uniform(-1, 1);
    v = uniform(-1, 1);
    s = u * u + v * v;
  } while (s >= 1 || s == 0);
  const double factor = std::sqrt(-2 * std::log(s) / s);
  spare_ = v * factor;
  has_spare_ = true;
  return u * factor;
}

double Random::log_normal(double median, double sigma) {
  return sigma == 0 ? median : median * std::exp(sigma * normal());
}

decision::Duration Random::log_normal(decision::Duration median, double sigma) {
  return decision::from_seconds(log_normal(decision::seconds(median), sigma));
}

decision::Duration Random::exponential(decision::Duration mean) {
  return decision::from_seconds(exponential(decision::seconds(mean)));
}

std::uint32_t Random::poisson(double mean) {
  // Sums of exponential gaps: exact, and the means here are small.
  std::uint32_t n = 0;
  for (double t = exponential(1.0); t < mean; t += exponential(1.0)) ++n;
  return n;
}

}  // namespace penstock::simulate
