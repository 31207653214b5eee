#include "runtime/http/request_state.h"
#include "runtime/http/request_target.h"

namespace penstock::http {

std::string_view Request::method() const { return state_->head.method(); }
std::string_view Request::target() const { return state_->head.target(); }
std::string_view Request::path() const { return state_->path; }
std::string_view Request::body() const { return state_->body; }
bool Request::secure() const { return state_->tls != nullptr; }
std::string Request::certificate_name() const { return state_->tls != nullptr ? state_->tls->peer_name() : ""; }
std::string_view Request::trace_id() const { return state_->trace_id; }

std::string_view Request::peer() const {
  if (state_->peer.empty()) state_->peer = state_->client->to_string();
  return state_->peer;
}

std::optional<std::string> Request::query(std::string_view name) const { return query_value(target(), name); }

std::string_view Request::param(std::string_view name) const {
  for (const auto& [key, value] : state_->params) {
    if (key == name) return value;
  }
  return {};
}

std::string_view Request::header(std::string_view name) const { return state_->head.find(name); }

Headers Request::headers() const {
  Headers all;
  for (std::size_t i = 0; i < state_->head.size(); ++i) all.emplace_back(state_->head.name(i), state_->head.value(i));
  return all;
}

}  // namespace penstock::http
