#include "examples/third_party/ledger.h"

namespace third_party {

Ledger::Call::Call(Ledger& ledger, std::string_view user_try) : ledger_(ledger), user_try_(user_try) {
  ++ledger_.total_.begun;
  if (!user_try_.empty()) ++ledger_.by_try_[user_try_].begun;
}

Ledger::Call::~Call() {
  const auto count = answered_ ? &Tally::answered : &Tally::cancelled;
  ++(ledger_.total_.*count);
  if (!user_try_.empty()) ++(ledger_.by_try_[user_try_].*count);
}

std::string Ledger::by_try() const {
  std::string lines;
  lines.reserve(by_try_.size() * 20);
  for (const auto& [user_try, tally] : by_try_) {
    lines.append(user_try).append(" ").append(std::to_string(tally.begun)).append(" ");
    lines.append(std::to_string(tally.answered)).append(" ").append(std::to_string(tally.cancelled)).append("\n");
  }
  return lines;
}

}  // namespace third_party
