#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "penstock/error.h"

namespace penstock::net {

// What name servers said of hosts, for their time to live; bounded.
class AddressCache {
 public:
  struct Answer {
    // None: there is no such host.
    std::vector<std::string> addresses;
    Instant until;
    // Until then it is better than none.
    Instant stale_until;
    bool stale(Instant now) const { return until <= now; }
  };

  // Null when there is none, not even a stale one. Valid until the next call of another member.
  Answer* find(const std::string& host, Instant now);
  void keep(const std::string& host, std::vector<std::string> addresses, std::chrono::seconds ttl, Instant now);
  // No address was to be had: what there is, stale as it is, counts for a little longer. Null: nothing.
  Answer* extend(const std::string& host, Instant now);
  void clear() { answers_.clear(); }
  std::size_t size() const { return answers_.size(); }

  static constexpr std::size_t kMost = 1000;

 private:
  std::map<std::string, Answer> answers_;
};

}  // namespace penstock::net
