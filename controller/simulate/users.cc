#include "controller/simulate/users.h"

#include <algorithm>
#include <utility>

#include "controller/simulate/node.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;

// What a user's dice are for.
enum : std::uint32_t { kPage, kRefreshes, kRefreshTime, kTenant, kRetries = 16 };

}  // namespace

Users::Users(const Scenario& scenario, Events& events, Outcome& outcome, std::uint64_t seed)
    : scenario_(scenario),
      events_(events),
      outcome_(outcome),
      seed_(seed),
      arrivals_(seed, "arrivals"),
      highest_rate_(scenario.load.highest_rate()) {
  double sum = 0;
  for (const PageModel& page : scenario.pages) shares_.push_back(sum += page.share);
  for (double& share : shares_) share /= sum;
}

void Users::open(std::vector<std::unique_ptr<Node>>& nodes) {
  for (const auto& node : nodes) nodes_.push_back(node.get());
  events_.after(arrivals_.exponential(decision::from_seconds(1 / highest_rate_)), *this, kArrive, 0);
}

double Users::dice(std::uint64_t number, std::uint32_t what) const {
  // splitmix64 of the three.
  std::uint64_t z = seed_ * 0x9e3779b97f4a7c15 + number * 0xd1342543de82ef95 + what * 0xaf251af3b0f025b5;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

void Users::arrive() {
  const Duration t = since_start(events_.now());
  // The run goes on for a while, so that the fate of the last ones is known.
  if (t >= scenario_.duration) return;
  events_.after(arrivals_.exponential(decision::from_seconds(1 / highest_rate_)), *this, kArrive, 0);
  if (!arrivals_.chance(scenario_.load.rate_at(t) / highest_rate_)) return;
  std::uint32_t id;
  if (free_.empty()) {
    id = static_cast<std::uint32_t>(users_.size());
    users_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  User& user = users_[id];
  user.number = number_++;
  user.first_try = events_.now();
  const double page = dice(user.number, kPage);
  user.page = static_cast<std::uint32_t>(std::ranges::upper_bound(shares_, page) - shares_.begin());
  user.page = std::min(user.page, static_cast<std::uint32_t>(shares_.size() - 1));
  user.tries = 0;
  user.node = nullptr;
  outcome_.user_came(user.first_try);
  const UsersModel& model = scenario_.users;
  events_.at(events_.now() + model.patience, *this, kGiveUp, id, user.alive);
  if (dice(user.number, kRefreshes) < model.refresh_share) {
    const double factor = 0.875 + 0.25 * dice(user.number, kRefreshTime);
    const Duration refresh = decision::from_seconds(decision::seconds(model.refresh_after) * factor);
    events_.at(events_.now() + refresh, *this, kRefresh, id, user.refresh);
  }
  try_once(id);
}

Node* Users::pick_node() {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    Node* node = nodes_[next_node_];
    next_node_ = (next_node_ + 1) % nodes_.size();
    if (node->listed()) return node;
  }
  return nullptr;
}

void Users::try_once(std::uint32_t id) {
  User& user = users_[id];
  ++user.tries;
  outcome_.try_made(user.first_try);
  outcome_.tries_counted(events_.now());
  Node* node = pick_node();
  if (node == nullptr || !node->up()) return answered(id, false, false);
  user.node = node;
  const int tenants = scenario_.pages[user.page].tenants;
  const auto tenant = static_cast<std::uint32_t>(tenants > 0 ? dice(user.number, kTenant) * tenants : 0);
  user.request = node->arrive(id, user.page, tenant);
}

void Users::leave_try(User& user) {
  if (Node* node = std::exchange(user.node, nullptr)) node->leave(user.request);
}

void Users::answered(std::uint32_t id, bool ok, bool refused) {
  User& user = users_[id];
  user.node = nullptr;
  if (refused) outcome_.try_refused(events_.now());
  if (ok) return gone(id, true);
  const UsersModel& model = scenario_.users;
  const std::uint32_t dices = kRetries + 2 * static_cast<std::uint32_t>(user.tries);
  if (user.tries >= model.max_tries || dice(user.number, dices) >= model.retry_share) return gone(id, false);
  // Whoever is about to try again does not refresh.
  ++user.refresh;
  const double factor = 0.5 + dice(user.number, dices + 1);
  events_.at(events_.now() + decision::from_seconds(decision::seconds(model.retry_after) * factor), *this, kTry, id,
             user.alive);
}

void Users::gone(std::uint32_t id, bool served) {
  User& user = users_[id];
  ++user.alive;
  ++user.refresh;
  if (served) {
    outcome_.user_served(user.page, user.first_try, events_.now());
  } else {
    outcome_.user_lost(user.page, user.first_try);
  }
  free_.push_back(id);
}

void Users::happen(std::uint8_t kind, std::uint32_t id) {
  switch (kind) {
    case kArrive:
      return arrive();
    case kTry:
      return try_once(id);
    case kRefresh: {
      User& user = users_[id];
      if (user.node == nullptr || user.tries >= scenario_.users.max_tries) return;
      leave_try(user);
      return try_once(id);
    }
    case kGiveUp:
      leave_try(users_[id]);
      return gone(id, false);
  }
}

}  // namespace penstock::simulate
