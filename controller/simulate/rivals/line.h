#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

namespace penstock::simulate {

using decision::Duration;
using decision::Instant;

// Those that wait before a gate, and in which order they are taken.
class Line {
 public:
  enum class Order {
    // The longest waiting first.
    fifo,
    // The last to come first.
    lifo,
    // By priority, the longest waiting first within one.
    priority,
    // Facebook's: fifo, and lifo while the line has not been empty for a while; see below.
    adaptive_lifo,
  };
  struct Rule {
    Order order = Order::fifo;
    // None more are let into the line.
    int max = 1'000'000'000;
    // Who waited longer is turned away.
    Duration max_wait = Duration::max();
  };

  // Source of adaptive_lifo: B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015, "Controlled Delay", "Adaptive LIFO".
  // Who comes while the line was last empty over N ago may wait for M, others for N.
  static constexpr Duration kM = std::chrono::milliseconds(5);
  static constexpr Duration kN = std::chrono::milliseconds(100);

  explicit Line(const Rule& rule) : rule_(rule) {}

  int size() const { return size_; }
  bool full() const { return size_ >= rule_.max; }
  Instant last_empty() const { return last_empty_; }

  void add(std::uint32_t id, decision::Priority priority, Instant now);
  // Who is next; those whose time is over are to be taken out by expired() first.
  std::optional<std::uint32_t> first(Instant now) const;
  // One whose time is over, who leaves the line.
  std::optional<std::uint32_t> expired(Instant now);
  bool remove(std::uint32_t id, Instant now);

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  struct Place {
    Instant until{};
    std::uint32_t before = kNone;
    std::uint32_t behind = kNone;
    std::uint8_t lane = 0;
    bool waits = false;
  };
  // The oldest is first.
  struct Lane {
    std::uint32_t first = kNone;
    std::uint32_t last = kNone;
  };
  bool congested(Instant now) const;
  void note_empty(Instant now);

  Rule rule_;
  std::vector<Place> places_;
  Lane lanes_[decision::kPriorities];
  int size_ = 0;
  Instant last_empty_{};
  // None is over before.
  Instant soonest_ = Instant::max();
};

}  // namespace penstock::simulate
