#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/http_server.h"
#include "runtime/http/once_a_second.h"

namespace penstock::http {

// Exactly one of the two.
struct RouteHandler {
  Handler plain;
  StreamHandler stream;
};

// One registered pattern and the handlers of its methods.
struct Route {
  std::string pattern;
  // Position in the order of registration.
  std::size_t index = 0;
  // Served for the operator (metrics, health): no pool, no deadline, not counted.
  bool auxiliary = false;
  // Method, empty for any; at most one of each.
  std::vector<std::pair<std::string, RouteHandler>> handlers;
  // For patterns with parameters: each segment, "{name}" without its braces and true.
  std::vector<std::pair<std::string, bool>> segments;
  // Those that were logged.
  OnceASecond failures;

  // HEAD falls back to GET, every method to "any"; null when the method is not allowed.
  const RouteHandler* handler(std::string_view method) const;
  // The value of the header Allow.
  std::string allowed() const;
};

// An exact pattern counts before one with parameters, that before a prefix; of two prefixes the longer. Among patterns
// with parameters that match the same path, the one whose first difference is literal counts.
class Router {
 public:
  // Throws std::invalid_argument for a malformed pattern or method, or a duplicate.
  void add(std::string_view method, std::string_view pattern, RouteHandler handler, bool auxiliary = false);

  using Params = std::vector<std::pair<std::string_view, std::string>>;
  // Null when no pattern matches. `params` gets the decoded values.
  Route* find(std::string_view path, Params& params) const;

  std::size_t size() const { return routes_.size(); }

 private:
  std::vector<std::unique_ptr<Route>> routes_;
  std::map<std::string, Route*, std::less<>> exact_;
  std::vector<Route*> parameterised_;
  // Longest first.
  std::vector<Route*> prefixes_;
};

}  // namespace penstock::http
