#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "controller/clock.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

// What identifies a mutation so that a repeat of it answers the same.
struct RequestKey {
  std::string id;  // empty: not kept
  std::string method;
  // Of the request without its id: a repeat with other content is refused.
  std::string digest;
};

// Who asks for a mutation, and under which condition.
struct Mutation {
  RequestKey request;
  std::string author;
  // "": no check. "*": must exist. "0": must not exist. Otherwise: must be the stored one.
  std::string etag;
  // "apply", "rollback to 3".
  std::string cause;
};

// Policies and their revisions, overrides, the epoch: everything that must survive. One SQLite file in one directory,
// held by one process at a time.
//
// Thread-safe; calls wait for each other and for the disk. A mutation is one transaction: when it answers OK it is on
// the disk, otherwise nothing of it is. Errors carry an ErrorInfo where a caller may have caused them.
class Store {
 public:
  static constexpr absl::Duration kRequestsKept = absl::Hours(1);

  // Makes the directory if needed, takes its lock, migrates, begins a new epoch. FAILED_PRECONDITION when another
  // process holds it (the message names it).
  static absl::StatusOr<std::unique_ptr<Store>> open(const std::string& directory, Clock& clock);
  ~Store();
  Store(const Store&) = delete;

  // Number of this start, from 1.
  std::uint64_t epoch() const;

  // The stored result of a repeated request (a serialized response); unset for a new one. INVALID_ARGUMENT when the id
  // was used for something else.
  absl::StatusOr<std::optional<std::string>> find_result(const RequestKey& request) const;

  // Stores `policy` as the next revision of its name; equal spec and labels: changed = false and no revision.
  // Metadata's revision, etag and update_time are set here; status is dropped.
  absl::StatusOr<v1::ApplyPolicyResponse> apply(const v1::Policy& policy, const Mutation& mutation);
  // What apply() would answer, without storing anything.
  absl::StatusOr<v1::ApplyPolicyResponse> preview(const v1::Policy& policy, const Mutation& mutation) const;
  // Its revisions are kept; a policy of that name that comes later continues their numbers.
  absl::Status remove(const std::string& name, const Mutation& mutation);
  absl::Status preview_remove(const std::string& name, const Mutation& mutation) const;

  // NOT_FOUND when there is none.
  absl::StatusOr<v1::Policy> policy(const std::string& name) const;
  absl::StatusOr<v1::Policy> policy_at(const std::string& name, std::int64_t revision) const;
  // By name, names above `after`.
  absl::StatusOr<std::vector<v1::Policy>> policies(const std::string& after, int limit) const;
  // Newest first, below `before` when that is not 0. NOT_FOUND for a name that never was.
  absl::StatusOr<std::vector<v1::PolicyRevision>> revisions(const std::string& name, std::int64_t before,
                                                            int limit) const;

  // Replaces the one of the same kind, name and service.
  absl::Status set_override(const v1::Override& imposed, const RequestKey& request);
  absl::Status remove_override(const v1::Override& imposed, const RequestKey& request);
  // Those not expired; expired ones are deleted.
  absl::StatusOr<std::vector<v1::Override>> overrides();

 private:
  friend class DecisionLog;
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace penstock::controller
