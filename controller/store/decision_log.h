#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/clock.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

class Store;

// Empty fields match everything.
struct DecisionFilter {
  std::string kind, name, service, node, action;
  std::optional<std::chrono::system_clock::time_point> since, until;
};

// What the controller decided and why: durable within kFlushInterval, listed, watched, pruned by age.
//
// Thread-safe. append() never waits for the disk: a thread of its own writes batches. Each decision is one line of the
// process log as well. Ids grow by one in the order of append(), across restarts too; readers see only what is durable,
// so that an id once shown never comes back as another decision.
class DecisionLog {
 public:
  static constexpr std::chrono::milliseconds kFlushInterval{200};
  static constexpr std::size_t kMaxPending = 10'000;

  // `store` outlives the log.
  DecisionLog(Store& store, Clock& clock, std::chrono::seconds retention);
  // Writes what is left.
  ~DecisionLog();
  DecisionLog(const DecisionLog&) = delete;

  // Sets id, and time when it is unset; returns the id. While the store cannot be written, the newest kMaxPending are
  // kept.
  std::int64_t append(v1::Decision decision);
  // Waits until everything appended so far is durable; the error of the store if it cannot be.
  absl::Status flush();

  // Newest first, at most `limit`, with ids below `before_id` when that is not 0. Waits for what was appended before.
  absl::StatusOr<std::vector<v1::Decision>> list(const DecisionFilter& filter, int limit, std::int64_t before_id) const;
  // Oldest first, ids above after_id; OUT_OF_RANGE when decisions above after_id have been pruned already.
  absl::StatusOr<std::vector<v1::Decision>> list_after(const DecisionFilter& filter, std::int64_t after_id,
                                                       int limit) const;
  // The newest durable one; 0: none yet.
  std::int64_t last_id() const;
  // Drops those older than the retention; returns how many.
  absl::StatusOr<std::int64_t> prune();

  // Called for each decision once it is durable, from the log's thread; must not block. Returns a key.
  std::uint64_t subscribe(std::function<void(const v1::Decision&)> listener);
  // No call begins after it. unsubscribe() also waits for one that is under way, unless that is what calls it.
  void unsubscribe(std::uint64_t key);
  void unsubscribe_soon(std::uint64_t key);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock::controller
