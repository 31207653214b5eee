#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "controller/simulate/events.h"
#include "controller/simulate/outcome.h"
#include "controller/simulate/random.h"
#include "controller/simulate/scenario.h"

namespace penstock::simulate {

class Node;

// Users and the balancer in front of the nodes.
//
// What a user will do is a function of the seed and of the number of the user alone, so every policy meets the very
// same users.
class Users final : public Actor {
 public:
  Users(const Scenario& scenario, Events& events, Outcome& outcome, std::uint64_t seed);

  // Before the run.
  void open(std::vector<std::unique_ptr<Node>>& nodes);

  // The node's answer to the try of a user. `refused`: the node did not want it.
  void answered(std::uint32_t user, bool ok, bool refused);

  void happen(std::uint8_t kind, std::uint32_t argument) override;

 private:
  enum Kind : std::uint8_t { kArrive, kTry, kRefresh, kGiveUp };
  struct User {
    std::uint64_t number = 0;
    Instant first_try{};
    std::uint32_t page = 0;
    int tries = 0;
    // Of the try that is under way.
    Node* node = nullptr;
    std::uint32_t request = 0;
    Generation alive = 0;
    Generation refresh = 0;
  };

  void arrive();
  void try_once(std::uint32_t user);
  void leave_try(User& user);
  void gone(std::uint32_t user, bool served);
  // In [0, 1), by what it is for.
  double dice(std::uint64_t number, std::uint32_t what) const;
  Node* pick_node();

  const Scenario& scenario_;
  Events& events_;
  Outcome& outcome_;
  const std::uint64_t seed_;
  Random arrivals_;
  const double highest_rate_;
  std::vector<double> shares_;
  std::vector<Node*> nodes_;
  std::size_t next_node_ = 0;
  std::uint64_t number_ = 0;
  std::deque<User> users_;
  std::vector<std::uint32_t> free_;
};

}  // namespace penstock::simulate
