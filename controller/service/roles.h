#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace grpc {
class ServerContextBase;
}

namespace penstock::controller {

// node: joins the fleet, nothing else. viewer: reads. operator: everything but join.
enum class Role { node, viewer, operator_ };
const std::string& to_string(Role role);

// Who calls.
struct Caller {
  // URI of the certificate's subject alternative name, else its common name; "local" without TLS.
  std::string identity;
  Role role = Role::viewer;
  // Without TLS, on loopback: everything is allowed, joining included.
  bool local = false;
  // What the pattern's {service} and {node} stood for: the node must join under these.
  std::map<std::string, std::string> captured;

  absl::Status may_read() const;
  absl::Status may_change() const;
  absl::Status may_join(const std::string& service, const std::string& node) const;
};

// Which role an identity has. Immutable after its construction.
class Roles {
 public:
  // "PATTERN=ROLE": the pattern is compared with the whole identity; "*" stands for anything, "{service}" and "{node}"
  // for one or more characters other than "/", which then bind the node to that service and name.
  absl::Status add(const std::string& entry);
  // YAML: roles: [{identity: PATTERN, role: ROLE}, ...]
  absl::Status load(const std::string& file);
  bool empty() const { return entries_.empty(); }

  // The first entry that matches decides.
  std::optional<Caller> find(const std::string& identity) const;

 private:
  struct Entry {
    std::string pattern;
    Role role;
  };
  absl::Status add(const std::string& pattern, const std::string& role);
  std::vector<Entry> entries_;
};

// Tells who calls.
class Authenticator {
 public:
  // Without TLS the listener is on loopback, and every caller is "local".
  Authenticator(bool tls, Roles roles) : tls_(tls), roles_(std::move(roles)) {}
  // UNAUTHENTICATED for a certificate that no role names.
  absl::StatusOr<Caller> authenticate(const grpc::ServerContextBase& context) const;

 private:
  bool tls_;
  Roles roles_;
};

}  // namespace penstock::controller
