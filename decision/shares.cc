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
  if (weights.size() != weights_.size()) used_.assign(weights.size(), 0.0);
  weights_ = std::move(weights);
}

Tenant Shares::begun(Tenant tenant, Instant now) {
  if (!told_apart()) return kUncounted;
  tenant = counted(tenant);
  if (of_ == ShareOf::starts && now > faded_) {
    const double kept = std::exp2(-seconds(now - faded_) / seconds(kStartsHalfLife));
    for (double& used : used_) used *= kept;
    faded_ = now;
  }
  ++used_[tenant];
  return tenant;
}

void Shares::ended(Tenant tenant) {
  if (tenant < used_.size() && of_ == ShareOf::places) used_[tenant] = std::max(0.0, used_[tenant] - 1);
}

}  // namespace penstock::decision
