#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "examples/users/plan.h"

// Carries a plan out against a shop, on one thread and raw sockets: one connection per try, closed when the user leaves
// or refreshes. Open loop: users arrive at their planned time whatever the shop does, and all latencies count from that
// time.
namespace users {

// How a try ended, where it is not an HTTP status.
inline constexpr int kNoAnswer = 0;
inline constexpr int kLeft = -1;

struct CrowdOptions {
  sockaddr_in shop{};
  // One JSON object per user, in the order in which they are done with.
  std::FILE* records = nullptr;
  // JSON lines: beginning of each phase, and counts once a second.
  std::FILE* progress = nullptr;
};

class Crowd {
 public:
  Crowd(CrowdOptions options, std::vector<Phase> phases, std::vector<User> plan);
  ~Crowd();
  Crowd(const Crowd&) = delete;

  // Returns when the last user is done.
  void run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace users
