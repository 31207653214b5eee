#include "controller/store/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "controller/store/schema.h"
#include "controller/store/state.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::controller {

std::int64_t to_micros(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

absl::Status store_error(const absl::Status& status) {
  if (status.ok() || errors::from_absl(status)) return status;
  return errors::to_absl({.reason = errors::Reason::store_unavailable,
                          .message = std::string(status.message()),
                          .retry_after = std::chrono::seconds(1)});
}

absl::StatusOr<DirectoryLock> DirectoryLock::take(const std::string& directory) {
  const std::string path = directory + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return absl::FailedPreconditionError(absl::StrCat(path, ": ", std::strerror(errno)));
  DirectoryLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t size = pread(fd, holder, sizeof holder - 1, 0);
    return absl::FailedPreconditionError(
        absl::StrCat("data directory ", directory, " is in use by another controller",
                     size > 0 ? absl::StrCat(" (process ", std::string(holder, size), ")") : ""));
  }
  const std::string pid = absl::StrCat(getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    return absl::FailedPreconditionError(absl::StrCat(path, ": ", std::strerror(errno)));
  return lock;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) close(fd_);
}

std::int64_t Store::State::now() const { return to_micros(clock.wall()); }

absl::StatusOr<std::unique_ptr<Store>> Store::open(const std::string& directory, Clock& clock) {
  std::error_code error;
  if (std::filesystem::create_directories(directory, error); error)
    return absl::FailedPreconditionError(absl::StrCat("data directory ", directory, ": ", error.message()));
  auto lock = DirectoryLock::take(directory);
  if (!lock.ok()) return lock.status();
  auto database = Database::open(directory + "/penstock.db");
  const auto of_file = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(directory, "/penstock.db: ", status.message()));
  };
  if (!database.ok()) return of_file(database.status());
  if (auto status = migrate(**database); !status.ok()) return of_file(status);
  auto state = std::make_unique<State>(*std::move(lock), *std::move(database), clock);
  Statement next(state->handle(), "UPDATE epoch SET value = value + 1 RETURNING value");
  auto row = next.step();
  if (!row.ok()) return of_file(row.status());
  state->epoch = static_cast<std::uint64_t>(next.integer(0));
  // A RETURNING statement commits when it has been stepped to its end.
  if (row = next.step(); !row.ok()) return row.status();
  return std::unique_ptr<Store>(new Store(std::move(state)));
}

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::~Store() = default;

std::uint64_t Store::epoch() const { return state_->epoch; }

absl::StatusOr<std::optional<std::string>> Store::State::find_result(const RequestKey& request) const {
  if (request.id.empty()) return std::nullopt;
  Statement find(handle(), "SELECT method, digest, result FROM requests WHERE id = ? AND time > ?");
  find.bind(1, request.id).bind(2, now() - absl::ToInt64Microseconds(kRequestsKept));
  auto row = find.step();
  if (!row.ok()) return store_error(row.status());
  if (!*row) return std::nullopt;
  if (find.bytes(0) != request.method || find.bytes(1) != request.digest)
    return errors::to_absl({.reason = errors::Reason::request_id_reused,
                            .message = "request_id was used for a different request",
                            .metadata = {{"request_id", request.id}}});
  return find.bytes(2);
}

absl::Status Store::State::keep_result(const RequestKey& request, const std::string& result) const {
  if (request.id.empty()) return absl::OkStatus();
  Statement forget(handle(), "DELETE FROM requests WHERE time <= ?");
  forget.bind(1, now() - absl::ToInt64Microseconds(kRequestsKept));
  if (auto status = forget.run(); !status.ok()) return status;
  Statement keep(handle(), "INSERT INTO requests(id, method, digest, result, time) VALUES(?, ?, ?, ?, ?)");
  keep.bind(1, request.id).bind(2, request.method).bind_blob(3, request.digest).bind_blob(4, result).bind(5, now());
  return keep.run();
}

absl::StatusOr<std::optional<std::string>> Store::find_result(const RequestKey& request) const {
  std::lock_guard lock(state_->mutex);
  return state_->find_result(request);
}

absl::Status Store::set_override(const v1::Override& imposed, const RequestKey& request) {
  std::lock_guard lock(state_->mutex);
  Transaction transaction(*state_->database);
  if (!transaction.begun().ok()) return store_error(transaction.begun());
  Statement put(state_->handle(),
                "INSERT OR REPLACE INTO overrides(kind, name, service, imposed, expires) "
                "VALUES(?, ?, ?, ?, ?)");
  put.bind(1, imposed.kind()).bind(2, imposed.name()).bind(3, imposed.service());
  put.bind_blob(4, imposed.SerializeAsString()).bind(5, to_micros(policy::to_chrono(imposed.expire_time())));
  if (auto status = put.run(); !status.ok()) return store_error(status);
  if (auto status = state_->keep_result(request, imposed.SerializeAsString()); !status.ok()) return store_error(status);
  return store_error(transaction.commit());
}

absl::Status Store::remove_override(const v1::Override& imposed, const RequestKey& request) {
  std::lock_guard lock(state_->mutex);
  Transaction transaction(*state_->database);
  if (!transaction.begun().ok()) return store_error(transaction.begun());
  Statement drop(state_->handle(), "DELETE FROM overrides WHERE kind = ? AND name = ? AND service = ?");
  drop.bind(1, imposed.kind()).bind(2, imposed.name()).bind(3, imposed.service());
  if (auto status = drop.run(); !status.ok()) return store_error(status);
  if (auto status = state_->keep_result(request, imposed.SerializeAsString()); !status.ok()) return store_error(status);
  return store_error(transaction.commit());
}

absl::StatusOr<std::vector<v1::Override>> Store::overrides() {
  std::lock_guard lock(state_->mutex);
  Statement expire(state_->handle(), "DELETE FROM overrides WHERE expires <= ?");
  expire.bind(1, state_->now());
  if (auto status = expire.run(); !status.ok()) return store_error(status);
  Statement list(state_->handle(), "SELECT imposed FROM overrides ORDER BY kind, service, name");
  std::vector<v1::Override> result;
  for (;;) {
    auto row = list.step();
    if (!row.ok()) return store_error(row.status());
    if (!*row) return result;
    if (!result.emplace_back().ParseFromString(list.bytes(0)))
      return absl::DataLossError("store: an override cannot be read");
  }
}

}  // namespace penstock::controller
