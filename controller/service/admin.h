#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/clock.h"
#include "controller/fleet/fleet.h"
#include "controller/store/decision_log.h"
#include "controller/store/store.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

// What the admin interface means, without its transport: admin.proto tells the contract of each call. `author` is the
// caller's identity. Thread-safe; mutations are carried out one at a time: first the store, then the fleet, then the
// log.
class Admin {
 public:
  Admin(Store& store, DecisionLog& log, Fleet& fleet, Clock& clock, std::string version);

  // Hands what is stored to the fleet. Once, before anything else.
  absl::Status restore();

  v1::ControllerStatus status() const;
  absl::StatusOr<v1::Policy> get_policy(const v1::GetPolicyRequest& request) const;
  absl::StatusOr<v1::ListPoliciesResponse> list_policies(const v1::ListPoliciesRequest& request) const;
  absl::StatusOr<v1::ListPolicyRevisionsResponse> list_revisions(const v1::ListPolicyRevisionsRequest& request) const;
  absl::StatusOr<v1::ListNodesResponse> list_nodes(const v1::ListNodesRequest& request) const;
  absl::StatusOr<v1::ListPoolsResponse> list_pools(const v1::ListPoolsRequest& request) const;
  absl::StatusOr<v1::ListUpstreamsResponse> list_upstreams(const v1::ListUpstreamsRequest& request) const;
  absl::StatusOr<v1::ListDecisionsResponse> list_decisions(const v1::ListDecisionsRequest& request) const;
  absl::StatusOr<v1::WhyResponse> why(const v1::WhyRequest& request) const;

  absl::StatusOr<v1::ApplyPolicyResponse> apply(const v1::ApplyPolicyRequest& request, const std::string& author);
  absl::Status remove(const v1::DeletePolicyRequest& request, const std::string& author);
  absl::StatusOr<v1::ApplyPolicyResponse> rollback(const v1::RollbackPolicyRequest& request, const std::string& author);
  absl::StatusOr<v1::Override> set_breaker(const v1::SetBreakerRequest& request, const std::string& author);
  absl::StatusOr<v1::Override> set_pool_limit(const v1::SetPoolLimitRequest& request, const std::string& author);
  absl::StatusOr<v1::Override> drain_node(const v1::DrainNodeRequest& request, const std::string& author);

 private:
  // Validates, checks for conflicts, stores or previews, publishes. With the mutex held.
  absl::StatusOr<v1::ApplyPolicyResponse> store_policy(const v1::Policy& policy, const Mutation& mutation,
                                                       bool validate_only);
  absl::Status check_conflicts(const v1::Policy& policy) const;
  // `release`: takes the override back instead. With the mutex held.
  struct Imposition {
    v1::Override imposed;
    bool release = false;
    bool validate_only = false;
    // Of the request.
    const google::protobuf::Duration* ttl = nullptr;
  };
  absl::StatusOr<v1::Override> impose(Imposition imposition, const RequestKey& key);
  v1::Policy with_status(v1::Policy policy) const;
  std::map<std::pair<std::string, std::string>, v1::PoolView> pool_views(const std::string& service) const;
  std::map<std::pair<std::string, std::string>, v1::UpstreamView> upstream_views(const std::string& service) const;
  // The one service that has a pool, upstream or node of this name, or an error that says which it could be.
  absl::StatusOr<std::string> resolve(const std::string& kind, const std::string& name,
                                      const std::string& service) const;

  Store& store_;
  DecisionLog& log_;
  Fleet& fleet_;
  Clock& clock_;
  const std::string version_;
  const std::chrono::system_clock::time_point started_;
  std::mutex mutations_;

  // Since when each condition of a policy is as it is.
  mutable std::mutex conditions_mutex_;
  mutable std::map<std::pair<std::string, std::string>, v1::Condition> conditions_;
};

}  // namespace penstock::controller
