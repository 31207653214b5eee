#include "penstock/decision/shares.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace penstock::decision {

std::vector<double> weights(const TenantsPolicy& policy) {
  std::vector<double> weights{policy.others};
  for (const TenantPolicy& tenant : policy.named) weights.push_back(tenant.weight);
  return weights;
}

Tenant tenant_named(const TenantsPolicy& policy, std::string_view name) {
  const auto found = std::ranges::find(policy.named, name, &TenantPolicy::name);
  return found == policy.named.end() ? kOthers : static_cast<Tenant>(found - policy.named.begin() + 1);
}

void Shares::set(std::vector<double> weights) {
  if (weights.size() != weights_.size()) {
    std::vector<double> held(weights.size()), late(weights.size());
    held_ = std::move(held);
    late_ = std::move(late);
  }
  weights_ = std::move(weights);
}

void Shares::fade(Instant now) {
  if (now <= faded_) return;
  const double kept = std::exp2(-seconds(now - faded_) / seconds(kHalfLife));
  for (std::size_t i = 0; i < late_.size(); ++i) late_[i] = late_[i] * kept + held_[i] * (1 - kept);
  faded_ = now;
}

Tenant Shares::begun(Tenant tenant, Instant now) {
  if (!told_apart()) return kUncounted;
  tenant = counted(tenant);
  fade(now);
  ++(of_ == ShareOf::starts ? late_ : held_)[tenant];
  return tenant;
}

void Shares::ended(Tenant tenant, Instant now) {
  if (tenant >= held_.size() || of_ == ShareOf::starts) return;
  fade(now);
  held_[tenant] = std::max(0.0, held_[tenant] - 1);
}

}  // namespace penstock::decision
