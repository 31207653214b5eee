#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

// SQLite with statuses for errors. One thread at a time.
namespace penstock::controller {

// A prepared statement; parameters are numbered from 1, columns from 0.
class Statement {
 public:
  Statement(sqlite3* database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;

  Statement& bind(int parameter, std::int64_t value);
  Statement& bind(int parameter, std::string_view text);
  Statement& bind_blob(int parameter, std::string_view bytes);

  // True: a row is there. Also reports what failed in the constructor and in bind().
  absl::StatusOr<bool> step();
  // For statements without rows.
  absl::Status run();
  // Ready for new parameters.
  void reset();

  std::int64_t integer(int column) const;
  std::string bytes(int column) const;

 private:
  absl::Status error() const;
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
  int failed_ = 0;
};

class Database {
 public:
  // Makes the file if needed. WAL, every commit synced (synchronous=FULL), foreign writers waited for.
  static absl::StatusOr<std::unique_ptr<Database>> open(const std::string& path);
  ~Database();
  Database(const Database&) = delete;

  absl::Status execute(const std::string& sql);
  sqlite3* handle() const { return database_; }

 private:
  explicit Database(sqlite3* database) : database_(database) {}
  sqlite3* database_;
};

// BEGIN IMMEDIATE; rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database), begun_(database.execute("BEGIN IMMEDIATE")) {}
  ~Transaction();
  Transaction(const Transaction&) = delete;

  const absl::Status& begun() const { return begun_; }
  absl::Status commit();

 private:
  Database& database_;
  absl::Status begun_;
  bool ended_ = false;
};

}  // namespace penstock::controller
