#include <google/protobuf/util/message_differencer.h>

#include "absl/strings/str_cat.h"
#include "controller/store/state.h"
#include "controller/store/store.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

using errors::Reason;

absl::Status not_found(const std::string& name) {
  return errors::to_absl({.reason = Reason::policy_not_found,
                          .message = absl::StrCat("no policy ", name.empty() ? "\"\"" : name),
                          .metadata = {{"policy", name}}});
}

absl::StatusOr<v1::Policy> parse(const std::string& bytes) {
  v1::Policy policy;
  if (!policy.ParseFromString(bytes)) return absl::DataLossError("store: a policy cannot be read");
  return policy;
}

// Unset when there is none.
absl::StatusOr<std::optional<v1::Policy>> current(sqlite3* handle, const std::string& name) {
  Statement find(handle, "SELECT policy FROM policies WHERE name = ?");
  find.bind(1, name);
  auto row = find.step();
  if (!row.ok()) return row.status();
  if (!*row) return std::nullopt;
  auto policy = parse(find.bytes(0));
  if (!policy.ok()) return policy.status();
  return *std::move(policy);
}

absl::StatusOr<std::int64_t> next_revision(sqlite3* handle, const std::string& name) {
  Statement find(handle, "SELECT coalesce(max(revision), 0) + 1 FROM revisions WHERE name = ?");
  find.bind(1, name);
  auto row = find.step();
  if (!row.ok()) return row.status();
  return find.integer(0);
}

absl::Status check_etag(const std::string& etag, const std::string& name, const std::optional<v1::Policy>& stored) {
  if (etag.empty()) return absl::OkStatus();
  const std::string there = stored ? stored->metadata().etag() : "0";
  if (etag == there || (etag == "*" && stored)) return absl::OkStatus();
  const std::string message = !stored       ? absl::StrCat("policy ", name, " does not exist")
                              : etag == "0" ? absl::StrCat("policy ", name, " exists already")
                                            : absl::StrCat("policy ", name, " is at revision ",
                                                           stored->metadata().revision(), ", its etag differs");
  return errors::to_absl(
      {.reason = Reason::revision_conflict,
       .message = message,
       .metadata = {
           {"policy", name}, {"etag", there}, {"revision", absl::StrCat(stored ? stored->metadata().revision() : 0)}}});
}

bool same_content(const v1::Policy& a, const v1::Policy& b) {
  using google::protobuf::util::MessageDifferencer;
  v1::Policy left, right;
  *left.mutable_spec() = a.spec();
  *right.mutable_spec() = b.spec();
  *left.mutable_metadata()->mutable_labels() = a.metadata().labels();
  *right.mutable_metadata()->mutable_labels() = b.metadata().labels();
  return MessageDifferencer::Equals(left, right);
}

// What apply() answers, from what is stored.
absl::StatusOr<v1::ApplyPolicyResponse> prepare(sqlite3* handle, const v1::Policy& policy, const Mutation& mutation,
                                                Clock& clock) {
  const std::string& name = policy.metadata().name();
  auto stored = current(handle, name);
  if (!stored.ok()) return stored.status();
  if (auto status = check_etag(mutation.etag, name, *stored); !status.ok()) return status;
  v1::ApplyPolicyResponse response;
  if (*stored && same_content(**stored, policy)) {
    *response.mutable_policy() = **stored;
    return response;
  }
  auto revision = next_revision(handle, name);
  if (!revision.ok()) return revision.status();
  v1::Policy& next = *response.mutable_policy();
  next = policy;
  next.clear_status();
  next.mutable_metadata()->set_revision(*revision);
  next.mutable_metadata()->set_etag(absl::StrCat(*revision, "-", absl::Hex(clock.random(), absl::kZeroPad16)));
  *next.mutable_metadata()->mutable_update_time() = policy::to_proto(clock.wall());
  response.set_changed(true);
  return response;
}

absl::Status add_revision(sqlite3* handle, const v1::Policy& policy, const Mutation& mutation, std::int64_t now) {
  Statement add(handle, "INSERT INTO revisions(name, revision, policy, cause, author, time) VALUES(?, ?, ?, ?, ?, ?)");
  add.bind(1, policy.metadata().name()).bind(2, policy.metadata().revision()).bind_blob(3, policy.SerializeAsString());
  add.bind(4, mutation.cause).bind(5, mutation.author).bind(6, now);
  return add.run();
}

absl::StatusOr<v1::Policy> prepare_removal(sqlite3* handle, const std::string& name, const Mutation& mutation) {
  auto stored = current(handle, name);
  if (!stored.ok()) return stored.status();
  if (!*stored) return not_found(name);
  if (auto status = check_etag(mutation.etag, name, *stored); !status.ok()) return status;
  return **std::move(stored);
}

}  // namespace

absl::StatusOr<v1::ApplyPolicyResponse> Store::preview(const v1::Policy& policy, const Mutation& mutation) const {
  std::lock_guard lock(state_->mutex);
  auto response = prepare(state_->handle(), policy, mutation, state_->clock);
  if (!response.ok()) return store_error(response.status());
  return response;
}

absl::StatusOr<v1::ApplyPolicyResponse> Store::apply(const v1::Policy& policy, const Mutation& mutation) {
  std::lock_guard lock(state_->mutex);
  Transaction transaction(*state_->database);
  if (!transaction.begun().ok()) return store_error(transaction.begun());
  auto response = prepare(state_->handle(), policy, mutation, state_->clock);
  if (!response.ok()) return store_error(response.status());
  if (response->changed()) {
    const v1::Policy& next = response->policy();
    Statement put(state_->handle(),
                  "INSERT OR REPLACE INTO policies(name, revision, service, policy) VALUES(?, ?, ?, ?)");
    put.bind(1, next.metadata().name()).bind(2, next.metadata().revision()).bind(3, next.spec().service());
    put.bind_blob(4, next.SerializeAsString());
    if (auto status = put.run(); !status.ok()) return store_error(status);
    if (auto status = add_revision(state_->handle(), next, mutation, state_->now()); !status.ok())
      return store_error(status);
  }
  if (auto status = state_->keep_result(mutation.request, response->SerializeAsString()); !status.ok())
    return store_error(status);
  if (auto status = transaction.commit(); !status.ok()) return store_error(status);
  return response;
}

absl::Status Store::preview_remove(const std::string& name, const Mutation& mutation) const {
  std::lock_guard lock(state_->mutex);
  return store_error(prepare_removal(state_->handle(), name, mutation).status());
}

absl::Status Store::remove(const std::string& name, const Mutation& mutation) {
  std::lock_guard lock(state_->mutex);
  Transaction transaction(*state_->database);
  if (!transaction.begun().ok()) return store_error(transaction.begun());
  auto stored = prepare_removal(state_->handle(), name, mutation);
  if (!stored.ok()) return store_error(stored.status());
  auto revision = next_revision(state_->handle(), name);
  if (!revision.ok()) return store_error(revision.status());
  v1::Policy tombstone;
  *tombstone.mutable_metadata() = stored->metadata();
  tombstone.mutable_metadata()->set_revision(*revision);
  tombstone.mutable_metadata()->clear_etag();
  *tombstone.mutable_metadata()->mutable_update_time() = policy::to_proto(state_->clock.wall());
  Statement drop(state_->handle(), "DELETE FROM policies WHERE name = ?");
  drop.bind(1, name);
  if (auto status = drop.run(); !status.ok()) return store_error(status);
  if (auto status = add_revision(state_->handle(), tombstone, mutation, state_->now()); !status.ok())
    return store_error(status);
  if (auto status = state_->keep_result(mutation.request, ""); !status.ok()) return store_error(status);
  return store_error(transaction.commit());
}

absl::StatusOr<v1::Policy> Store::policy(const std::string& name) const {
  std::lock_guard lock(state_->mutex);
  auto stored = current(state_->handle(), name);
  if (!stored.ok()) return store_error(stored.status());
  if (!*stored) return not_found(name);
  return **std::move(stored);
}

absl::StatusOr<v1::Policy> Store::policy_at(const std::string& name, std::int64_t revision) const {
  std::lock_guard lock(state_->mutex);
  Statement find(state_->handle(), "SELECT policy FROM revisions WHERE name = ? AND revision = ?");
  find.bind(1, name).bind(2, revision);
  auto row = find.step();
  if (!row.ok()) return store_error(row.status());
  if (*row) return parse(find.bytes(0));
  auto next = next_revision(state_->handle(), name);
  if (!next.ok()) return store_error(next.status());
  if (*next == 1) return not_found(name);
  return errors::to_absl(
      {.reason = Reason::revision_not_found,
       .message = absl::StrCat("policy ", name, " has no revision ", revision, "; its newest is ", *next - 1),
       .metadata = {{"policy", name}, {"revision", absl::StrCat(revision)}}});
}

absl::StatusOr<std::vector<v1::Policy>> Store::policies(const std::string& after, int limit) const {
  std::lock_guard lock(state_->mutex);
  Statement list(state_->handle(), "SELECT policy FROM policies WHERE name > ? ORDER BY name LIMIT ?");
  list.bind(1, after).bind(2, limit);
  std::vector<v1::Policy> result;
  for (;;) {
    auto row = list.step();
    if (!row.ok()) return store_error(row.status());
    if (!*row) return result;
    auto policy = parse(list.bytes(0));
    if (!policy.ok()) return policy.status();
    result.push_back(*std::move(policy));
  }
}

absl::StatusOr<std::vector<v1::PolicyRevision>> Store::revisions(const std::string& name, std::int64_t before,
                                                                 int limit) const {
  std::lock_guard lock(state_->mutex);
  auto next = next_revision(state_->handle(), name);
  if (!next.ok()) return store_error(next.status());
  if (*next == 1) return not_found(name);
  Statement list(state_->handle(),
                 "SELECT policy, cause, author FROM revisions WHERE name = ? AND revision < ? "
                 "ORDER BY revision DESC LIMIT ?");
  list.bind(1, name).bind(2, before > 0 ? before : *next).bind(3, limit);
  std::vector<v1::PolicyRevision> result;
  for (;;) {
    auto row = list.step();
    if (!row.ok()) return store_error(row.status());
    if (!*row) return result;
    auto policy = parse(list.bytes(0));
    if (!policy.ok()) return policy.status();
    v1::PolicyRevision& revision = result.emplace_back();
    *revision.mutable_policy() = *std::move(policy);
    revision.set_cause(list.bytes(1));
    revision.set_author(list.bytes(2));
  }
}

}  // namespace penstock::controller
