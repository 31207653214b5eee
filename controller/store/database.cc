#include "controller/store/database.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"

namespace penstock::controller {
namespace {

absl::Status failure(sqlite3* database, int code) {
  // Mostly both say the same.
  const std::string kind = sqlite3_errstr(code), detail = database != nullptr ? sqlite3_errmsg(database) : "";
  const std::string message = absl::StrCat("store: ", kind, detail.empty() || detail == kind ? "" : ": " + detail);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace

Statement::Statement(sqlite3* database, std::string_view sql) : database_(database) {
  failed_ = sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr);
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::bind(int parameter, std::int64_t value) {
  if (failed_ == SQLITE_OK) failed_ = sqlite3_bind_int64(statement_, parameter, value);
  return *this;
}

Statement& Statement::bind(int parameter, std::string_view text) {
  if (failed_ == SQLITE_OK)
    failed_ = sqlite3_bind_text64(statement_, parameter, text.data() != nullptr ? text.data() : "", text.size(),
                                  SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind_blob(int parameter, std::string_view bytes) {
  if (failed_ == SQLITE_OK)
    failed_ = sqlite3_bind_blob64(statement_, parameter, bytes.data() != nullptr ? bytes.data() : "", bytes.size(),
                                  SQLITE_TRANSIENT);
  return *this;
}

absl::Status Statement::error() const { return failure(database_, failed_); }

absl::StatusOr<bool> Statement::step() {
  if (failed_ != SQLITE_OK) return error();
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return failure(database_, code);
}

absl::Status Statement::run() { return step().status(); }

void Statement::reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::bytes(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return data == nullptr ? std::string() : std::string(data, sqlite3_column_bytes(statement_, column));
}

absl::StatusOr<std::unique_ptr<Database>> Database::open(const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(handle));
  if (code != SQLITE_OK) return failure(handle, code);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 5000);
  for (const char* pragma : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"}) {
    if (auto status = database->execute(pragma); !status.ok()) return status;
  }
  return database;
}

Database::~Database() { sqlite3_close_v2(database_); }

absl::Status Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : failure(database_, code);
}

Transaction::~Transaction() {
  if (begun_.ok() && !ended_) (void)database_.execute("ROLLBACK");
}

absl::Status Transaction::commit() {
  auto status = database_.execute("COMMIT");
  ended_ = status.ok();
  return status;
}

}  // namespace penstock::controller
