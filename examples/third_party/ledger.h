#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

// What became of the calls that a third party took. Not thread-safe.
namespace third_party {

struct Tally {
  std::uint64_t begun = 0;
  std::uint64_t answered = 0;
  // The caller left first.
  std::uint64_t cancelled = 0;
};

class Ledger {
 public:
  // One call, from its arrival; ends as cancelled unless answered() was called.
  class Call {
   public:
    Call(Ledger& ledger, std::string_view user_try);
    ~Call();
    Call(const Call&) = delete;
    void answered() { answered_ = true; }

   private:
    Ledger& ledger_;
    std::string user_try_;
    bool answered_ = false;
  };

  const Tally& total() const { return total_; }
  std::uint64_t in_flight() const { return total_.begun - total_.answered - total_.cancelled; }
  // One line "TRY BEGUN ANSWERED CANCELLED" per value of the callers' X-Try.
  std::string by_try() const;

 private:
  Tally total_;
  std::unordered_map<std::string, Tally> by_try_;
};

}  // namespace third_party
