#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

// How tenants share places that are not enough for all.
//
// Of those that wait with the same priority, the next place goes to the tenant that uses least for its weight,
//
//   (h + m) / w      h: places that it holds,  m: how many it held of late, on average,  w: its weight
//
// so that in the long run each holds its weight's share of the places, however long its requests take and however many
// it sends; what one does not ask for goes to the others (work-conserving). Without m, where there are few places and
// each is handed on as it becomes free, nobody would hold any and the most insistent would have them all. At equal use
// the first comer is next. At a full queue the tenant that has most waiting for its weight makes way. Nothing is taken
// away from who holds a place. Only who was given a place while somebody waited, or with none to spare, is counted:
// what was let in while there was enough for all is held against nobody.
//
// Where it is not places that are handed out but starts (the CPU's door), the starts of late take the place of h + m.
// What was of late fades with a half-life of kHalfLife.
//
// Tenants are those that the policy names, and number 0, which all others are together: what a header says cannot make
// more of them.
namespace penstock::decision {

using Tenant = std::uint8_t;
// Whoever the policy does not name.
inline constexpr Tenant kOthers = 0;
// Nobody: not counted.
inline constexpr Tenant kUncounted = 0xff;
// The others included.
inline constexpr std::size_t kMostTenants = 64;

enum class ShareOf { places, starts };

// By number: the others, and each that is named. One entry: tenants are not told apart.
std::vector<double> weights(const TenantsPolicy& policy);
// kOthers when it is not named. Allocates nothing.
Tenant tenant_named(const TenantsPolicy& policy, std::string_view name);

// Not thread-safe.
class Shares {
 public:
  static constexpr Duration kHalfLife = std::chrono::seconds(1);

  explicit Shares(ShareOf of = ShareOf::places) : of_(of) {}
  // Uses start anew where the number of tenants changes.
  void set(std::vector<double> weights);
  std::size_t tenants() const { return weights_.size(); }
  bool told_apart() const { return weights_.size() > 1; }
  double weight(Tenant tenant) const { return weights_[tenant]; }
  // Of one that is counted at all.
  Tenant counted(Tenant tenant) const { return tenant < weights_.size() ? tenant : kOthers; }

  // It was given a place: as whom it is counted until it ends.
  Tenant begun(Tenant tenant, Instant now);
  void ended(Tenant tenant, Instant now);
  // Least first: who is next, as of the last begin or end.
  double use(Tenant tenant) const { return (held_[tenant] + late_[tenant]) / weights_[tenant]; }
  // Places that it holds; of starts: none.
  double held(Tenant tenant) const { return held_[tenant]; }

 private:
  void fade(Instant now);

  ShareOf of_;
  std::vector<double> weights_{1.0};
  std::vector<double> held_{0.0};
  // Of places: the mean of what was held; of starts: their number.
  std::vector<double> late_{0.0};
  Instant faded_{};
};

}  // namespace penstock::decision
