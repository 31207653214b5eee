#include <google/protobuf/util/field_mask_util.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "controller/service/admin.h"
#include "controller/service/page.h"
#include "controller/service/request_key.h"
#include "policy/validate.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

using errors::Reason;
using google::protobuf::util::FieldMaskUtil;

// Whether one node could carry the labels of both.
bool overlap(const v1::PolicySpec& a, const v1::PolicySpec& b) {
  if (a.service() != b.service()) return false;
  for (const auto& [key, value] : a.node_labels())
    if (const auto found = b.node_labels().find(key); found != b.node_labels().end() && found->second != value)
      return false;
  return true;
}

// The spec of `stored` with the fields of `mask` taken from `wanted`.
absl::StatusOr<v1::PolicySpec> merge(const v1::PolicySpec& stored, const v1::PolicySpec& wanted,
                                     const google::protobuf::FieldMask& mask) {
  google::protobuf::FieldMask fields;
  for (int i = 0; i < mask.paths_size(); ++i) {
    std::string path = mask.paths(i);
    if (path.starts_with("spec.")) path = path.substr(5);
    if (!FieldMaskUtil::IsValidPath<v1::PolicySpec>(path))
      return errors::to_absl(errors::argument_invalid(absl::StrCat("update_mask.paths[", i, "]"),
                                                      absl::StrCat("spec has no field \"", path, "\"")));
    fields.add_paths(path);
  }
  v1::PolicySpec result = stored;
  FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  FieldMaskUtil::MergeMessageTo(wanted, fields, options, &result);
  // Merging does not clear scalars that are absent in the request; a mask that names them does.
  for (const auto& path : fields.paths()) {
    const auto* field = v1::PolicySpec::descriptor()->FindFieldByName(path);
    if (field != nullptr && !field->is_repeated() && field->has_presence() &&
        !wanted.GetReflection()->HasField(wanted, field))
      result.GetReflection()->ClearField(&result, field);
  }
  return result;
}

template <class Response>
absl::StatusOr<Response> parse(const std::string& stored) {
  Response response;
  if (!response.ParseFromString(stored)) return absl::DataLossError("store: a stored result cannot be read");
  return response;
}

}  // namespace

absl::Status Admin::check_conflicts(const v1::Policy& policy) const {
  for (const auto& other : fleet_.policies()) {
    if (other->metadata().name() == policy.metadata().name() || !overlap(other->spec(), policy.spec())) continue;
    // One that only watches may stand beside the one that acts.
    const bool watches = policy.spec().mode() == v1::POLICY_MODE_SHADOW;
    if (watches != (other->spec().mode() == v1::POLICY_MODE_SHADOW)) continue;
    return errors::to_absl(
        {.reason = Reason::policy_conflict,
         .message = absl::StrCat("policy ", other->metadata().name(), " already claims nodes of service ",
                                 policy.spec().service(), " with these labels"),
         .metadata = {{"policy", policy.metadata().name()}, {"other", other->metadata().name()}}});
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ApplyPolicyResponse> Admin::store_policy(const v1::Policy& policy, const Mutation& mutation,
                                                            bool validate_only) {
  if (auto status = policy::check(policy); !status.ok()) return status;
  if (auto status = check_conflicts(policy); !status.ok()) return status;
  auto response = validate_only ? store_.preview(policy, mutation) : store_.apply(policy, mutation);
  if (!response.ok()) return response.status();
  if (!validate_only && response->changed()) {
    fleet_.set_policy(std::make_shared<v1::Policy>(response->policy()));
    v1::Decision decision;
    decision.set_kind("policy");
    decision.set_name(policy.metadata().name());
    decision.set_service(policy.spec().service());
    decision.set_action("apply");
    decision.set_reason(mutation.cause.starts_with("rollback") ? "rollback" : "apply");
    decision.set_message(absl::StrCat("policy ", policy.metadata().name(), " revision ",
                                      response->policy().metadata().revision(), " (", mutation.cause, ") by ",
                                      mutation.author));
    auto& evidence = *decision.mutable_evidence()->mutable_fields();
    evidence["revision"].set_number_value(static_cast<double>(response->policy().metadata().revision()));
    evidence["author"].set_string_value(mutation.author);
    decision.set_shadow(policy.spec().mode() == v1::POLICY_MODE_SHADOW);
    log_.append(std::move(decision));
  }
  *response->mutable_policy() = with_status(response->policy());
  return response;
}

absl::StatusOr<v1::ApplyPolicyResponse> Admin::apply(const v1::ApplyPolicyRequest& request, const std::string& author) {
  auto key = request_key(request, request.request_id());
  if (!key.ok()) return key.status();
  if (!request.has_policy()) return errors::to_absl(errors::argument_invalid("policy", "is required"));
  std::lock_guard lock(mutations_);
  if (!request.validate_only()) {
    auto repeated = store_.find_result(*key);
    if (!repeated.ok()) return repeated.status();
    if (*repeated) return parse<v1::ApplyPolicyResponse>(**repeated);
  }
  v1::Policy policy;
  policy.mutable_metadata()->set_name(request.policy().metadata().name());
  if (request.update_mask().paths().empty()) {
    *policy.mutable_metadata()->mutable_labels() = request.policy().metadata().labels();
    *policy.mutable_spec() = request.policy().spec();
  } else {
    auto stored = store_.policy(policy.metadata().name());
    if (!stored.ok()) return stored.status();
    auto spec = merge(stored->spec(), request.policy().spec(), request.update_mask());
    if (!spec.ok()) return spec.status();
    *policy.mutable_metadata()->mutable_labels() = stored->metadata().labels();
    *policy.mutable_spec() = *std::move(spec);
  }
  return store_policy(policy, {.request = *key, .author = author, .etag = request.etag(), .cause = "apply"},
                      request.validate_only());
}

absl::StatusOr<v1::ApplyPolicyResponse> Admin::rollback(const v1::RollbackPolicyRequest& request,
                                                        const std::string& author) {
  auto key = request_key(request, request.request_id());
  if (!key.ok()) return key.status();
  if (request.to_revision() < 1) return errors::to_absl(errors::argument_invalid("to_revision", "must be at least 1"));
  std::lock_guard lock(mutations_);
  if (!request.validate_only()) {
    auto repeated = store_.find_result(*key);
    if (!repeated.ok()) return repeated.status();
    if (*repeated) return parse<v1::ApplyPolicyResponse>(**repeated);
  }
  auto revision = store_.policy_at(request.name(), request.to_revision());
  if (!revision.ok()) return revision.status();
  if (!revision->has_spec())
    return errors::to_absl(errors::argument_invalid(
        "to_revision", absl::StrCat("revision ", request.to_revision(), " is the deletion of the policy")));
  v1::Policy policy;
  policy.mutable_metadata()->set_name(request.name());
  const auto current = fleet_.policy(request.name());
  *policy.mutable_metadata()->mutable_labels() =
      current != nullptr ? current->metadata().labels() : revision->metadata().labels();
  *policy.mutable_spec() = revision->spec();
  return store_policy(policy,
                      {.request = *key,
                       .author = author,
                       .etag = request.etag(),
                       .cause = absl::StrCat("rollback to ", request.to_revision())},
                      request.validate_only());
}

absl::Status Admin::remove(const v1::DeletePolicyRequest& request, const std::string& author) {
  auto key = request_key(request, request.request_id());
  if (!key.ok()) return key.status();
  const Mutation mutation{.request = *key, .author = author, .etag = request.etag(), .cause = "delete"};
  std::lock_guard lock(mutations_);
  if (request.validate_only()) return store_.preview_remove(request.name(), mutation);
  auto repeated = store_.find_result(*key);
  if (!repeated.ok()) return repeated.status();
  if (*repeated) return absl::OkStatus();
  const auto removed = fleet_.policy(request.name());
  if (auto status = store_.remove(request.name(), mutation); !status.ok()) return status;
  fleet_.remove_policy(request.name());
  v1::Decision decision;
  decision.set_kind("policy");
  decision.set_name(request.name());
  if (removed != nullptr) decision.set_service(removed->spec().service());
  decision.set_action("apply");
  decision.set_reason("delete");
  decision.set_message(absl::StrCat("policy ", request.name(), " deleted by ", author));
  (*decision.mutable_evidence()->mutable_fields())["author"].set_string_value(author);
  log_.append(std::move(decision));
  return absl::OkStatus();
}

absl::StatusOr<v1::Policy> Admin::get_policy(const v1::GetPolicyRequest& request) const {
  if (!request.has_revision()) {
    auto policy = store_.policy(request.name());
    if (!policy.ok()) return policy.status();
    return with_status(*std::move(policy));
  }
  return store_.policy_at(request.name(), request.revision());
}

absl::StatusOr<v1::ListPoliciesResponse> Admin::list_policies(const v1::ListPoliciesRequest& request) const {
  auto page = Page::read("policies", request.page_size(), request.page_token());
  if (!page.ok()) return page.status();
  auto policies = store_.policies(page->cursor(), page->size() + 1);
  if (!policies.ok()) return policies.status();
  v1::ListPoliciesResponse response;
  for (auto& policy : *policies) {
    if (response.policies_size() == page->size()) {
      response.set_next_page_token(page->next(response.policies(page->size() - 1).metadata().name()));
      break;
    }
    *response.add_policies() = with_status(std::move(policy));
  }
  return response;
}

absl::StatusOr<v1::ListPolicyRevisionsResponse> Admin::list_revisions(
    const v1::ListPolicyRevisionsRequest& request) const {
  auto page = Page::read("revisions/" + request.name(), request.page_size(), request.page_token());
  if (!page.ok()) return page.status();
  const std::int64_t before = page->cursor().empty() ? 0 : std::strtoll(page->cursor().c_str(), nullptr, 10);
  auto revisions = store_.revisions(request.name(), before, page->size() + 1);
  if (!revisions.ok()) return revisions.status();
  v1::ListPolicyRevisionsResponse response;
  for (auto& revision : *revisions) {
    if (response.revisions_size() == page->size()) {
      response.set_next_page_token(
          page->next(absl::StrCat(response.revisions(page->size() - 1).policy().metadata().revision())));
      break;
    }
    *response.add_revisions() = std::move(revision);
  }
  return response;
}

}  // namespace penstock::controller
