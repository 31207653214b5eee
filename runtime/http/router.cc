#include "runtime/http/router.h"

#include <algorithm>
#include <stdexcept>

#include "runtime/http/message.h"
#include "runtime/http/request_target.h"
#include "runtime/telemetry/utf8.h"

namespace penstock::http {
namespace {

[[noreturn]] void refuse(std::string_view pattern, const char* why) {
  throw std::invalid_argument("route \"" + std::string(pattern) + "\": " + why);
}

std::vector<std::pair<std::string, bool>> parse_segments(std::string_view pattern) {
  std::vector<std::pair<std::string, bool>> segments;
  std::string_view rest = pattern.substr(1);
  while (true) {
    const auto slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    if (segment.starts_with('{') && segment.ends_with('}')) {
      const std::string_view name = segment.substr(1, segment.size() - 2);
      if (!is_token(name)) refuse(pattern, "a parameter needs a name");
      for (const auto& [other, parameter] : segments) {
        if (parameter && other == name) refuse(pattern, "a parameter's name is used twice");
      }
      segments.emplace_back(name, true);
    } else {
      if (segment.find_first_of("{}") != segment.npos) refuse(pattern, "a parameter is a whole segment");
      segments.emplace_back(canonical_path(segment), false);
    }
    if (slash == rest.npos) return segments;
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace

const RouteHandler* Route::handler(std::string_view method) const {
  const RouteHandler* get = nullptr;
  const RouteHandler* any = nullptr;
  for (const auto& [name, handler] : handlers) {
    if (name == method) return &handler;
    if (name == "GET") get = &handler;
    if (name.empty()) any = &handler;
  }
  return method == "HEAD" && get != nullptr ? get : any;
}

void Router::add(std::string_view method, std::string_view pattern, RouteHandler handler, bool auxiliary) {
  if (!handler.plain && !handler.stream) refuse(pattern, "no handler");
  if (!method.empty() && !is_token(method)) refuse(pattern, "malformed method");
  if (!pattern.starts_with('/')) refuse(pattern, "must begin with \"/\"");
  if (pattern.find_first_of(" \t\r\n?#") != pattern.npos) refuse(pattern, "must be a path");
  // It is a label of metrics.
  if (!telemetry::is_utf8(pattern)) refuse(pattern, "must be UTF-8");
  const auto star = pattern.find('*');
  const bool parameters = pattern.find_first_of("{}") != pattern.npos;
  if (star != pattern.npos && star + 1 != pattern.size()) refuse(pattern, "\"*\" may only be its end");
  if (star != pattern.npos && parameters) refuse(pattern, "a prefix has no parameters");
  std::vector<std::pair<std::string, bool>> segments;
  if (parameters) segments = parse_segments(pattern);

  Routes& same = place_of(pattern, segments);
  Route* route = nullptr;
  for (Route* other : same) {
    for (const auto& [name, existing] : other->handlers) {
      if (name == method) refuse(pattern, "registered twice for the same method");
    }
    if (other->pattern == pattern && other->auxiliary == auxiliary) route = other;
  }
  if (route == nullptr) {
    auto made = std::make_unique<Route>();
    made->pattern = pattern;
    made->index = routes_.size();
    made->auxiliary = auxiliary;
    made->segments = std::move(segments);
    route = routes_.emplace_back(std::move(made)).get();
    same.push_back(route);
  }
  route->handlers.emplace_back(method, std::move(handler));
}

Router::Routes& Router::place_of(std::string_view pattern, const std::vector<std::pair<std::string, bool>>& segments) {
  if (pattern.ends_with('*')) return prefixes_[canonical_path(pattern.substr(0, pattern.size() - 1))];
  if (segments.empty()) return exact_[canonical_path(pattern)];
  Node* node = &parameterised_;
  for (const auto& [text, parameter] : segments) {
    std::unique_ptr<Node>& next = parameter ? node->parameter : node->literal[text];
    if (!next) next = std::make_unique<Node>();
    node = next.get();
  }
  return node->routes;
}

template <class Visit>
bool Router::search(std::string_view path, Visit&& visit) const {
  Values values;
  if (const auto found = exact_.find(path); found != exact_.end()) {
    for (Route* route : found->second) {
      if (visit(*route, values)) return true;
    }
  }
  if (path.starts_with('/') && search_node(parameterised_, path.substr(1), values, visit)) return true;
  return search_prefixes(path, visit);
}

template <class Visit>
bool Router::search_node(const Node& node, std::string_view rest, Values& values, Visit& visit) {
  const auto slash = rest.find('/');
  const std::string_view segment = rest.substr(0, slash);
  const auto go_on = [&](const Node& next) {
    if (slash != rest.npos) return search_node(next, rest.substr(slash + 1), values, visit);
    for (Route* route : next.routes) {
      if (visit(*route, values)) return true;
    }
    return false;
  };
  if (const auto found = node.literal.find(segment); found != node.literal.end() && go_on(*found->second)) return true;
  if (!node.parameter || segment.empty()) return false;
  values.push_back(segment);
  if (go_on(*node.parameter)) return true;
  values.pop_back();
  return false;
}

template <class Visit>
bool Router::search_prefixes(std::string_view path, Visit& visit) const {
  // All prefixes of the path that are left come, in their order, at or before this one.
  std::string_view longest = path;
  for (;;) {
    auto at = prefixes_.upper_bound(longest);
    if (at == prefixes_.begin()) return false;
    const std::string_view prefix = (--at)->first;
    const auto differs = std::mismatch(prefix.begin(), prefix.end(), path.begin(), path.end()).first;
    if (differs != prefix.end()) {
      longest = path.substr(0, static_cast<std::size_t>(differs - prefix.begin()));
      continue;
    }
    for (Route* route : at->second) {
      if (visit(*route, {})) return true;
    }
    longest = path.substr(0, prefix.size() - 1);
  }
}

Router::Found Router::find(std::string_view path, std::string_view method, Params& params) const {
  params.clear();
  std::string canonical;
  if (!is_plain_path(path)) path = canonical = canonical_path(path);
  Found found;
  search(path, [&](Route& route, const Values& values) {
    if (found.route == nullptr) found.route = &route;
    const RouteHandler* handler = route.handler(method);
    if (handler == nullptr) return false;
    found = {&route, handler};
    auto value = values.begin();
    for (const auto& [name, parameter] : route.segments) {
      if (parameter) params.emplace_back(name, percent_decode(*value++, false));
    }
    return true;
  });
  return found;
}

std::string Router::allowed(std::string_view path) const {
  std::vector<std::string_view> methods;
  const auto add = [&](std::string_view method) {
    if (std::find(methods.begin(), methods.end(), method) == methods.end()) methods.push_back(method);
  };
  search(canonical_path(path), [&](const Route& route, const Values&) {
    for (const auto& [name, handler] : route.handlers) {
      add(name);
      if (name == "GET") add("HEAD");
    }
    return false;
  });
  std::string list;
  for (const std::string_view method : methods) {
    if (!list.empty()) list += ", ";
    list += method;
  }
  return list;
}

}  // namespace penstock::http
