#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/clock.h"
#include "controller/store/database.h"
#include "controller/store/store.h"

// What the files of the store share.
namespace penstock::controller {

// An exclusive lock on a directory, held while it lives. The kernel releases it when the process dies.
class DirectoryLock {
 public:
  static absl::StatusOr<DirectoryLock> take(const std::string& directory);
  DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_;
};

struct Store::State {
  State(DirectoryLock lock, std::unique_ptr<Database> database, Clock& clock)
      : lock(std::move(lock)), database(std::move(database)), clock(clock) {}

  DirectoryLock lock;
  // Guards `database`.
  std::mutex mutex;
  std::unique_ptr<Database> database;
  Clock& clock;
  std::uint64_t epoch = 0;

  sqlite3* handle() const { return database->handle(); }
  // Microseconds since 1970.
  std::int64_t now() const;

  // With the mutex held.
  absl::StatusOr<std::optional<std::string>> find_result(const RequestKey& request) const;
  absl::Status keep_result(const RequestKey& request, const std::string& result) const;
};

std::int64_t to_micros(std::chrono::system_clock::time_point time);

// STORE_UNAVAILABLE for what the database reports; statuses that carry a reason pass unchanged.
absl::Status store_error(const absl::Status& status);

}  // namespace penstock::controller
