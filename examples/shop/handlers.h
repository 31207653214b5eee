#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

// The shop's own code. Both builds use it: it makes its calls one after the other and waits for each.
namespace shop {

// Calls third party 'A', 'B' or 'C' and gives its answer; throws when there is none.
using ThirdParties = std::function<std::string(char name)>;

// The header that names a user's try; the shop hands it on, so that a third party's calls can be traced to it.
inline constexpr std::string_view kTryHeader = "X-Try";

// What every page costs beyond its calls. Set before the shop serves.
struct PageCost {
  // Stands for templates and serialisation: as much CPU on a fast machine as on a slow one.
  std::chrono::microseconds cpu{300};
  // Held while the page is made: documents, sessions, objects of a database.
  std::size_t memory_bytes = 0;
};
PageCost& page_cost();

// Each makes the calls in its comment, in that order, and then renders a page.
std::string checkout(const ThirdParties& call);  // A, B, C
std::string browse(const ThirdParties& call);    // B, C, B
std::string history(const ThirdParties& call);   // A, A, C
std::string about(const ThirdParties& call);     // C, C, C

struct Endpoint {
  std::string_view path;
  std::string (*page)(const ThirdParties& call);
};
std::span<const Endpoint> endpoints();

}  // namespace shop
