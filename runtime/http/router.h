#pragma once

#include <map>
#include <memory>
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
};

// An exact pattern counts before one with parameters, that before a prefix; of two prefixes the longer. Among patterns
// with parameters that match the same path, the one whose first difference is literal counts. Whatever does not take
// the method is passed over. Paths and patterns are compared in their canonical form.
//
// What a search costs grows with the length of the path, and hardly with the number of patterns.
class Router {
 public:
  // Throws std::invalid_argument for a malformed pattern or method, or a duplicate: a pattern for the same paths and
  // the same method.
  void add(std::string_view method, std::string_view pattern, RouteHandler handler, bool auxiliary = false);

  // Values are decoded, names belong to the route.
  using Params = std::vector<std::pair<std::string_view, std::string>>;
  struct Found {
    // Null: no pattern matches the path.
    Route* route = nullptr;
    // Null: none of those that match takes the method, and `route` is the first of them.
    const RouteHandler* handler = nullptr;
  };
  Found find(std::string_view path, std::string_view method, Params& params) const;
  // The value of the header Allow: the methods that are taken at the path.
  std::string allowed(std::string_view path) const;

  std::size_t size() const { return routes_.size(); }

 private:
  // Those for the same paths, in the order in which they were added.
  using Routes = std::vector<Route*>;
  using ByText = std::map<std::string, Routes, std::less<>>;
  // Of the tree of patterns with parameters, a segment deep each.
  struct Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> literal;
    std::unique_ptr<Node> parameter;
    Routes routes;
  };
  using Values = std::vector<std::string_view>;

  Routes& place_of(std::string_view pattern, const std::vector<std::pair<std::string, bool>>& segments);
  // Shows visit(route, values of its parameters) what matches, the best first, until it returns true.
  template <class Visit>
  bool search(std::string_view path, Visit&& visit) const;
  template <class Visit>
  static bool search_node(const Node& node, std::string_view rest, Values& values, Visit& visit);
  template <class Visit>
  bool search_prefixes(std::string_view path, Visit& visit) const;

  std::vector<std::unique_ptr<Route>> routes_;
  ByText exact_;
  Node parameterised_;
  // By what comes before the "*".
  ByText prefixes_;
};

}  // namespace penstock::http
