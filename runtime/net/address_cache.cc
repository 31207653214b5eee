#include "runtime/net/address_cache.h"

#include <algorithm>
#include <utility>

namespace penstock::net {
namespace {

constexpr std::chrono::seconds kLeastAge{1};
constexpr std::chrono::seconds kMostAge{30};
// That a host does not exist may be about to change.
constexpr std::chrono::seconds kAbsence{2};
// How long old addresses are used while no name server answers, and how soon the servers are asked again.
constexpr std::chrono::minutes kStale{10};
constexpr std::chrono::seconds kAskAgain{2};

}  // namespace

AddressCache::Answer* AddressCache::find(const std::string& host, Instant now) {
  const auto found = answers_.find(host);
  if (found == answers_.end()) return nullptr;
  if (found->second.stale_until > now) return &found->second;
  answers_.erase(found);
  return nullptr;
}

void AddressCache::keep(const std::string& host, std::vector<std::string> addresses, std::chrono::seconds ttl,
                        Instant now) {
  const Instant until = now + (addresses.empty() ? kAbsence : std::clamp(ttl, kLeastAge, kMostAge));
  const Instant stale_until = addresses.empty() ? until : until + kStale;
  if (answers_.size() >= kMost && !answers_.contains(host)) {
    std::erase_if(answers_, [&](const auto& item) { return item.second.stale(now); });
    if (answers_.size() >= kMost) {
      answers_.erase(std::min_element(answers_.begin(), answers_.end(),
                                      [](const auto& a, const auto& b) { return a.second.until < b.second.until; }));
    }
  }
  answers_[host] = {std::move(addresses), until, stale_until};
}

AddressCache::Answer* AddressCache::extend(const std::string& host, Instant now) {
  Answer* answer = find(host, now);
  if (answer == nullptr || answer->addresses.empty()) return nullptr;
  answer->until = std::max(answer->until, std::min(now + kAskAgain, answer->stale_until));
  return answer;
}

}  // namespace penstock::net
