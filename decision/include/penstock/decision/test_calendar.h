#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "penstock/decision/time.h"

namespace penstock::decision {

// Which upstream of a node may be tested: one at a time, because the one under test holds back requests that would
// call the others as well, and each would read the other's cut. Of several that ask, the one whose name comes first in
// an order that changes with each slot of the wall clock, so that all nodes choose the same one. Not thread-safe.
class TestCalendar {
 public:
  static constexpr Duration kSlot = std::chrono::seconds(4);

  // Each upstream that wants to be tested or is under test, once a tick, before resolve().
  void ask(std::string_view upstream, bool testing, Duration wall) {
    if (testing) {
      holder_ = id(upstream);
    } else if (const std::uint64_t asked = rank(upstream, wall); !first_ || asked < first_rank_) {
      first_ = id(upstream);
      first_rank_ = asked;
    }
  }
  // Ends the tick: whose turn it is until the next.
  void resolve() {
    turn_ = holder_ ? holder_ : first_;
    holder_.reset();
    first_.reset();
  }
  bool may_test(std::string_view upstream) const { return turn_ && *turn_ == id(upstream); }

  // Least first: who goes before whom in the slot that `wall` is in.
  static constexpr std::uint64_t rank(std::string_view upstream, Duration wall) {
    return mix(id(upstream) ^ static_cast<std::uint64_t>(wall / kSlot));
  }

 private:
  // FNV-1a, the same on all nodes.
  static constexpr std::uint64_t id(std::string_view name) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return hash;
  }
  // splitmix64's finaliser.
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  std::optional<std::uint64_t> holder_;
  std::optional<std::uint64_t> first_;
  std::uint64_t first_rank_ = 0;
  std::optional<std::uint64_t> turn_;
};

}  // namespace penstock::decision
