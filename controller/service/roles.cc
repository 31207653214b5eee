#include "controller/service/roles.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>
#include <yaml-cpp/yaml.h>

#include <array>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

absl::Status denied(const Caller& caller, const std::string& wanted) {
  return errors::to_absl(
      {.reason = errors::Reason::permission,
       .message = absl::StrCat(caller.identity, " has role ", to_string(caller.role), "; this needs ", wanted),
       .metadata = {{"identity", caller.identity}, {"role", to_string(caller.role)}}});
}

// Backtracks over the lengths that "*" and "{name}" may take.
bool match(std::string_view pattern, std::string_view text, std::map<std::string, std::string>& captured) {
  if (pattern.empty()) return text.empty();
  if (pattern.front() == '*') {
    for (std::size_t taken = 0; taken <= text.size(); ++taken)
      if (match(pattern.substr(1), text.substr(taken), captured)) return true;
    return false;
  }
  for (const std::string_view name : {"{service}", "{node}"}) {
    if (!pattern.starts_with(name)) continue;
    const std::size_t longest = std::min(text.find('/'), text.size());
    for (std::size_t taken = longest; taken > 0; --taken) {
      if (!match(pattern.substr(name.size()), text.substr(taken), captured)) continue;
      captured[std::string(name.substr(1, name.size() - 2))] = std::string(text.substr(0, taken));
      return true;
    }
    return false;
  }
  return !text.empty() && pattern.front() == text.front() && match(pattern.substr(1), text.substr(1), captured);
}

}  // namespace

const std::string& to_string(Role role) {
  static const std::array<std::string, 3> kNames = {"node", "viewer", "operator"};
  return kNames[static_cast<std::size_t>(role)];
}

absl::Status Caller::may_read() const {
  return role == Role::node ? denied(*this, "viewer or operator") : absl::OkStatus();
}

absl::Status Caller::may_change() const {
  return role != Role::operator_ ? denied(*this, "operator") : absl::OkStatus();
}

absl::Status Caller::may_join(const std::string& service, const std::string& node) const {
  if (local) return absl::OkStatus();
  if (role != Role::node) return denied(*this, "node");
  for (const auto& [name, value] : {std::pair<std::string, const std::string&>{"service", service}, {"node", node}}) {
    const auto bound = captured.find(name);
    if (bound != captured.end() && bound->second != value)
      return errors::to_absl(
          {.reason = errors::Reason::permission,
           .message = absl::StrCat(identity, " may join as ", name, " ", bound->second, " only, not as ", value),
           .metadata = {{"identity", identity}, {"role", "node"}, {name, value}}});
  }
  return absl::OkStatus();
}

absl::Status Roles::add(const std::string& entry) {
  const std::size_t split = entry.rfind('=');
  if (split == std::string::npos)
    return absl::InvalidArgumentError(absl::StrCat("role \"", entry, "\": expected PATTERN=node|viewer|operator"));
  return add(entry.substr(0, split), entry.substr(split + 1));
}

absl::Status Roles::add(const std::string& pattern, const std::string& role) {
  if (pattern.empty()) return absl::InvalidArgumentError("role: the identity is empty");
  for (const Role known : {Role::node, Role::viewer, Role::operator_}) {
    if (role != to_string(known)) continue;
    entries_.push_back({pattern, known});
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("role of \"", pattern, "\": \"", role, "\" is not one of node, viewer, operator"));
}

absl::Status Roles::load(const std::string& file) {
  try {
    const YAML::Node document = YAML::LoadFile(file);
    const YAML::Node roles = document.IsMap() ? document["roles"] : YAML::Node(YAML::NodeType::Undefined);
    if (!roles.IsDefined() || !roles.IsSequence() || document.size() != 1)
      return absl::InvalidArgumentError(absl::StrCat(file, ": expected one key \"roles\" with a list"));
    for (const YAML::Node& entry : roles) {
      const int line = entry.Mark().line + 1;
      if (!entry.IsMap() || entry.size() != 2 || !entry["identity"] || !entry["role"])
        return absl::InvalidArgumentError(absl::StrCat(file, ":", line, ": expected identity and role"));
      if (auto status = add(entry["identity"].as<std::string>(), entry["role"].as<std::string>()); !status.ok())
        return absl::InvalidArgumentError(absl::StrCat(file, ":", line, ": ", status.message()));
    }
    return absl::OkStatus();
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", error.what()));
  }
}

std::optional<Caller> Roles::find(const std::string& identity) const {
  for (const Entry& entry : entries_) {
    Caller caller{.identity = identity, .role = entry.role};
    if (match(entry.pattern, identity, caller.captured)) return caller;
  }
  return std::nullopt;
}

absl::StatusOr<Caller> Authenticator::authenticate(const grpc::ServerContextBase& context) const {
  if (!tls_) return Caller{.identity = "local", .role = Role::operator_, .local = true};
  std::string identity;
  if (const auto auth = context.auth_context(); auth != nullptr && auth->IsPeerAuthenticated()) {
    for (const char* property : {GRPC_PEER_URI_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME}) {
      const auto values = auth->FindPropertyValues(property);
      if (!values.empty()) identity = std::string(values[0].data(), values[0].size());
      if (!identity.empty()) break;
    }
  }
  if (auto caller = roles_.find(identity); !identity.empty() && caller) return *std::move(caller);
  return errors::to_absl(
      {.reason = errors::Reason::unauthenticated,
       .message = identity.empty() ? "the certificate names nobody" : absl::StrCat("no role is given to ", identity),
       .metadata = {{"identity", identity}}});
}

}  // namespace penstock::controller
