#include <optional>

#include "absl/strings/str_cat.h"
#include "controller/service/admin.h"
#include "controller/service/request_key.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

constexpr std::chrono::seconds kTtlMin{1};
constexpr std::chrono::hours kTtlMax{24};
constexpr std::size_t kReasonMax = 500;
constexpr int kLimitMax = 1'000'000;

absl::Status invalid(std::string field, std::string message) {
  return errors::to_absl(errors::argument_invalid(std::move(field), std::move(message)));
}

}  // namespace

absl::StatusOr<v1::Override> Admin::impose(Imposition imposition, const RequestKey& key) {
  v1::Override& imposed = imposition.imposed;
  if (imposed.reason().empty() || imposed.reason().size() > kReasonMax)
    return invalid("reason", absl::StrCat("is required, up to ", kReasonMax, " characters"));
  if (imposition.release) {
    imposed.set_value("auto");
  } else {
    if (imposition.ttl == nullptr) return invalid("ttl", "is required");
    const auto ttl = policy::to_chrono(*imposition.ttl);
    if (ttl < kTtlMin || ttl > kTtlMax) return invalid("ttl", "must be between 1s and 24h");
    *imposed.mutable_expire_time() =
        policy::to_proto(clock_.wall() + std::chrono::duration_cast<std::chrono::system_clock::duration>(ttl));
  }
  if (imposition.validate_only) return imposed;
  auto repeated = store_.find_result(key);
  if (!repeated.ok()) return repeated.status();
  if (*repeated) {
    v1::Override stored;
    if (!stored.ParseFromString(**repeated)) return absl::DataLossError("store: a stored result cannot be read");
    return stored;
  }
  if (auto status = imposition.release ? store_.remove_override(imposed, key) : store_.set_override(imposed, key);
      !status.ok())
    return status;
  if (imposition.release) {
    fleet_.remove_override(imposed.kind(), imposed.name(), imposed.service());
  } else {
    fleet_.set_override(imposed);
  }
  v1::Decision decision;
  decision.set_kind(imposed.kind());
  decision.set_name(imposed.name());
  decision.set_service(imposed.service());
  if (imposed.kind() == "node") decision.set_node(imposed.name());
  decision.set_action("override");
  decision.set_reason(imposition.release ? "released" : "operator");
  decision.set_message(
      absl::StrCat(imposed.kind(), " ", imposed.name(), imposition.release ? ": override taken back" : " set to ",
                   imposition.release ? "" : imposed.value(), " by ", imposed.author(), ": ", imposed.reason()));
  auto& evidence = *decision.mutable_evidence()->mutable_fields();
  evidence["value"].set_string_value(imposed.value());
  evidence["author"].set_string_value(imposed.author());
  evidence["reason"].set_string_value(imposed.reason());
  if (!imposition.release)
    evidence["ttl_seconds"].set_number_value(decision::seconds(policy::to_chrono(*imposition.ttl)));
  log_.append(std::move(decision));
  return imposed;
}

absl::StatusOr<v1::Override> Admin::set_breaker(const v1::SetBreakerRequest& request, const std::string& author) {
  auto key = request_key(request, request.request_id());
  if (!key.ok()) return key.status();
  Imposition imposition{.validate_only = request.validate_only()};
  switch (request.breaker()) {
    case v1::BREAKER_OVERRIDE_AUTO:
      imposition.release = true;
      break;
    case v1::BREAKER_OVERRIDE_FORCE_OPEN:
      imposition.imposed.set_value("open");
      break;
    case v1::BREAKER_OVERRIDE_FORCE_CLOSED:
      imposition.imposed.set_value("closed");
      break;
    default:
      return invalid("breaker", "must be FORCE_OPEN, FORCE_CLOSED or AUTO");
  }
  std::lock_guard lock(mutations_);
  auto service = resolve("upstream", request.upstream(), request.service());
  if (!service.ok()) return service.status();
  imposition.imposed.set_kind("upstream");
  imposition.imposed.set_name(request.upstream());
  imposition.imposed.set_service(*service);
  imposition.imposed.set_reason(request.reason());
  imposition.imposed.set_author(author);
  if (request.has_ttl()) imposition.ttl = &request.ttl();
  return impose(std::move(imposition), *key);
}

absl::StatusOr<v1::Override> Admin::set_pool_limit(const v1::SetPoolLimitRequest& request, const std::string& author) {
  auto key = request_key(request, request.request_id());
  if (!key.ok()) return key.status();
  if (request.has_limit() && (request.limit() < 1 || request.limit() > kLimitMax))
    return invalid("limit", absl::StrCat("must be between 1 and ", kLimitMax));
  Imposition imposition{.release = !request.has_limit(), .validate_only = request.validate_only()};
  std::lock_guard lock(mutations_);
  auto service = resolve("pool", request.pool(), request.service());
  if (!service.ok()) return service.status();
  imposition.imposed.set_kind("pool");
  imposition.imposed.set_name(request.pool());
  imposition.imposed.set_service(*service);
  imposition.imposed.set_value(absl::StrCat(request.limit()));
  imposition.imposed.set_reason(request.reason());
  imposition.imposed.set_author(author);
  if (request.has_ttl()) imposition.ttl = &request.ttl();
  return impose(std::move(imposition), *key);
}

absl::StatusOr<v1::Override> Admin::drain_node(const v1::DrainNodeRequest& request, const std::string& author) {
  auto key = request_key(request, request.request_id());
  if (!key.ok()) return key.status();
  Imposition imposition{.release = !request.drain(), .validate_only = request.validate_only()};
  std::lock_guard lock(mutations_);
  auto service = resolve("node", request.node(), request.service());
  if (!service.ok()) return service.status();
  imposition.imposed.set_kind("node");
  imposition.imposed.set_name(request.node());
  imposition.imposed.set_service(*service);
  imposition.imposed.set_value("drain");
  imposition.imposed.set_reason(request.reason());
  imposition.imposed.set_author(author);
  if (request.has_ttl()) imposition.ttl = &request.ttl();
  return impose(std::move(imposition), *key);
}

}  // namespace penstock::controller
