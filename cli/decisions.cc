#include "cli/decisions.h"

#include <algorithm>

#include "cli/resource.h"

namespace penstock::cli {
namespace {

Colour colour(const std::string& action) {
  if (action == "trip" || action == "leave" || action == "refuse") return Colour::red;
  if (action == "half_open" || action == "override" || action == "hold" || action == "test" || action == "shed" ||
      action == "rate" || action == "drift")
    return Colour::yellow;
  if (action == "close" || action == "join" || action == "apply") return Colour::green;
  return Colour::bold;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

}  // namespace

std::string line(const v1::Decision& decision, const Console& console) {
  std::string where = decision.service();
  if (!decision.node().empty()) where += "@" + decision.node();
  return console.paint(Colour::grey, format_time(decision.time())) + "  " +
         console.paint(colour(decision.action()), padded(decision.action(), 9)) + "  " +
         padded(decision.kind() + "/" + decision.name(), 20) + "  " + padded(where, 12) + "  " +
         (decision.verdict().empty() || decision.verdict() == "none" ? "" : "[" + decision.verdict() + "] ") +
         decision.message() + (decision.shadow() ? " (shadow: not carried out)" : "");
}

std::vector<v1::Decision> list_decisions(Client& client, v1::ListDecisionsRequest request) {
  std::vector<v1::Decision> all;
  request.set_page_size(1000);
  do {
    v1::ListDecisionsResponse page = client.call(request);
    for (auto& decision : *page.mutable_decisions()) all.push_back(std::move(decision));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  std::ranges::reverse(all);
  return all;
}

}  // namespace penstock::cli
