#include "runtime/http/router.h"

#include <algorithm>
#include <stdexcept>

#include "runtime/http/message.h"
#include "runtime/http/request_target.h"

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
      segments.emplace_back(segment, false);
    }
    if (slash == rest.npos) return segments;
    rest.remove_prefix(slash + 1);
  }
}

bool match_segments(const Route& route, std::string_view path, Router::Params& params) {
  params.clear();
  if (!path.starts_with('/')) return false;
  std::string_view rest = path.substr(1);
  for (std::size_t i = 0; i < route.segments.size(); ++i) {
    const auto slash = rest.find('/');
    if ((slash == rest.npos) != (i + 1 == route.segments.size())) return false;
    const std::string_view segment = rest.substr(0, slash);
    const auto& [text, parameter] = route.segments[i];
    if (parameter) {
      if (segment.empty()) return false;
      params.emplace_back(text, percent_decode(segment, false));
    } else if (segment != text) {
      return false;
    }
    if (slash != rest.npos) rest.remove_prefix(slash + 1);
  }
  return true;
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

std::string Route::allowed() const {
  std::string list;
  bool get = false;
  bool head = false;
  for (const auto& [name, handler] : handlers) {
    get = get || name == "GET";
    head = head || name == "HEAD";
    if (!list.empty()) list += ", ";
    list += name;
  }
  if (get && !head) list += ", HEAD";
  return list;
}

void Router::add(std::string_view method, std::string_view pattern, RouteHandler handler, bool auxiliary) {
  if (!handler.plain && !handler.stream) refuse(pattern, "no handler");
  if (!method.empty() && !is_token(method)) refuse(pattern, "malformed method");
  if (!pattern.starts_with('/')) refuse(pattern, "must begin with \"/\"");
  if (pattern.find_first_of(" \t\r\n?#") != pattern.npos) refuse(pattern, "must be a path");
  const auto star = pattern.find('*');
  const bool prefix = star != pattern.npos;
  const bool parameters = pattern.find_first_of("{}") != pattern.npos;
  if (prefix && star + 1 != pattern.size()) refuse(pattern, "\"*\" may only be its end");
  if (prefix && parameters) refuse(pattern, "a prefix has no parameters");

  Route* route = nullptr;
  for (const auto& existing : routes_) {
    if (existing->pattern == pattern) route = existing.get();
  }
  if (route == nullptr) {
    auto made = std::make_unique<Route>();
    made->pattern = pattern;
    made->index = routes_.size();
    made->auxiliary = auxiliary;
    if (parameters) made->segments = parse_segments(pattern);
    route = routes_.emplace_back(std::move(made)).get();
    if (prefix) {
      prefixes_.push_back(route);
      std::stable_sort(prefixes_.begin(), prefixes_.end(),
                       [](const Route* a, const Route* b) { return a->pattern.size() > b->pattern.size(); });
    } else if (parameters) {
      parameterised_.push_back(route);
      std::stable_sort(parameterised_.begin(), parameterised_.end(), [](const Route* a, const Route* b) {
        return std::lexicographical_compare(a->segments.begin(), a->segments.end(), b->segments.begin(),
                                            b->segments.end(),
                                            [](const auto& x, const auto& y) { return x.second < y.second; });
      });
    } else {
      exact_.emplace(pattern, route);
    }
  }
  for (const auto& [name, existing] : route->handlers) {
    if (name == method) refuse(pattern, "registered twice for the same method");
  }
  route->handlers.emplace_back(method, std::move(handler));
}

Route* Router::find(std::string_view path, Params& params) const {
  params.clear();
  if (const auto found = exact_.find(path); found != exact_.end()) return found->second;
  for (Route* route : parameterised_) {
    if (match_segments(*route, path, params)) return route;
  }
  params.clear();
  for (Route* route : prefixes_) {
    if (path.starts_with(std::string_view(route->pattern).substr(0, route->pattern.size() - 1))) return route;
  }
  return nullptr;
}

}  // namespace penstock::http
