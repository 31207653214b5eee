#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "penstock/decision/time.h"

// The virtual clock and what is to happen when.
//
// Events of the same instant happen in the order in which they were asked for. Events lie by value in a heap of four
// children a node: nothing is allocated once the heap has grown to what a run needs.
namespace penstock::simulate {

using decision::Duration;
using decision::Instant;

// The beginning of every run.
inline constexpr Instant kStart{};
inline Instant at(Duration since_start) { return kStart + since_start; }
inline Duration since_start(Instant t) { return t - kStart; }

// Whoever events happen to.
class Actor {
 public:
  virtual ~Actor() = default;
  // `kind` and `argument` are the actor's own.
  virtual void happen(std::uint8_t kind, std::uint32_t argument) = 0;
};

// What may be taken back: an event that carries a generation is dropped unless its actor's slot still has that one. The
// actor keeps one Generation for each thing that can end in several ways, and moves it on when one of them has come.
using Generation = std::uint32_t;

class Events {
 public:
  Instant now() const { return now_; }

  // Instants that have passed happen now.
  void at(Instant when, Actor& actor, std::uint8_t kind, std::uint32_t argument) {
    push(when, actor, kind, argument, nullptr);
  }
  void after(Duration delay, Actor& actor, std::uint8_t kind, std::uint32_t argument) {
    push(now_ + delay, actor, kind, argument, nullptr);
  }
  // Does not happen if `generation`, which must outlive the run, has changed by then.
  void at(Instant when, Actor& actor, std::uint8_t kind, std::uint32_t argument, const Generation& generation) {
    push(when, actor, kind, argument, &generation);
  }

  // Lets everything happen up to and including `end`, where the clock then stands.
  void run(Instant end);
  std::uint64_t happened() const { return happened_; }

 private:
  struct Event {
    std::int64_t when;
    std::uint64_t order;
    Actor* actor;
    const Generation* generation;
    std::uint32_t argument;
    Generation expected;
    std::uint8_t kind;
    bool before(const Event& other) const { return when != other.when ? when < other.when : order < other.order; }
  };

  void push(Instant when, Actor& actor, std::uint8_t kind, std::uint32_t argument, const Generation* generation);
  Event pop();

  std::vector<Event> heap_;
  Instant now_ = kStart;
  std::uint64_t order_ = 0;
  std::uint64_t happened_ = 0;
};

}  // namespace penstock::simulate
