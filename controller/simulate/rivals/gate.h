#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "controller/simulate/rivals/limiter.h"
#include "controller/simulate/rivals/line.h"
#include "controller/simulate/rivals/shedder.h"
#include "penstock/decision/admission.h"

namespace penstock::simulate {

// A limiter, those that wait before it, and who is turned away from the line: at a node's door, or before an upstream.
class Gate {
 public:
  struct Parts {
    // Null: everyone goes through.
    std::unique_ptr<Limiter> limiter;
    // Unset: nobody waits.
    std::optional<Line::Rule> line;
    std::unique_ptr<Shedder> shedder;
    // What the limiter's refusals are.
    decision::RejectReason reason = decision::RejectReason::limit;
  };
  explicit Gate(Parts parts);

  struct Asking {
    std::uint32_t id;
    decision::Priority priority;
    // Uniform in [0, 1).
    double chance;
  };
  enum class Answer { through, waits, refused };
  struct Decision {
    Answer answer;
    decision::RejectReason reason{};
  };
  Decision arrive(const Asking& asking, Instant now);
  // One that went through.
  void ended(std::uint32_t id, Fate fate, Instant now);
  // One that waits goes away. False if it does not wait.
  bool leave(std::uint32_t id, Instant now);
  void tick(const Load& load, Instant now);

  struct Moved {
    std::uint32_t id;
    // Unset: it went through.
    std::optional<decision::RejectReason> refused;
  };
  // Whose wait is over. Ask after ended(), leave() and tick() until there is none.
  std::optional<Moved> next(Instant now);

  const Limiter* limiter() const { return parts_.limiter.get(); }
  int in_flight() const { return in_flight_; }
  int waiting() const { return line_ ? line_->size() : 0; }

 private:
  struct State {
    decision::Priority priority{};
    double chance = 0;
    Instant through{};
    int besides = 0;
  };
  bool let_through(std::uint32_t id, Instant now);
  Shedder::Queue queue() const;

  Parts parts_;
  std::optional<Line> line_;
  std::vector<State> states_;
  int in_flight_ = 0;
};

}  // namespace penstock::simulate
