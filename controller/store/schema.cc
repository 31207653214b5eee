#include "controller/store/schema.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "controller/store/database.h"

namespace penstock::controller {
namespace {

// Step i leads from version i to i + 1. Steps are never edited once released; new ones are added.
constexpr std::array kSteps = {
    R"sql(
      CREATE TABLE policies(
        name TEXT PRIMARY KEY, revision INTEGER NOT NULL, service TEXT NOT NULL, policy BLOB NOT NULL) STRICT;
      CREATE TABLE revisions(
        name TEXT NOT NULL, revision INTEGER NOT NULL, policy BLOB NOT NULL, cause TEXT NOT NULL, author TEXT NOT NULL,
        time INTEGER NOT NULL, PRIMARY KEY(name, revision)) STRICT;
      CREATE TABLE requests(
        id TEXT PRIMARY KEY, method TEXT NOT NULL, digest BLOB NOT NULL, result BLOB NOT NULL,
        time INTEGER NOT NULL) STRICT;
      CREATE INDEX requests_time ON requests(time);
      CREATE TABLE overrides(
        kind TEXT NOT NULL, name TEXT NOT NULL, service TEXT NOT NULL, imposed BLOB NOT NULL, expires INTEGER NOT NULL,
        PRIMARY KEY(kind, name, service)) STRICT;
      CREATE TABLE epoch(one INTEGER PRIMARY KEY CHECK(one = 1), value INTEGER NOT NULL) STRICT;
      INSERT INTO epoch VALUES(1, 0);
    )sql",
    R"sql(
      CREATE TABLE decisions(
        id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
        service TEXT NOT NULL, node TEXT NOT NULL, action TEXT NOT NULL, decision BLOB NOT NULL) STRICT;
      CREATE INDEX decisions_subject ON decisions(kind, name, service, id);
      CREATE INDEX decisions_time ON decisions(time);
      CREATE TABLE pruned(one INTEGER PRIMARY KEY CHECK(one = 1), through INTEGER NOT NULL) STRICT;
      INSERT INTO pruned VALUES(1, 0);
    )sql",
};

}  // namespace

absl::Status migrate(Database& database) {
  if (auto status = database.execute("CREATE TABLE IF NOT EXISTS schema_version(version INTEGER NOT NULL) STRICT");
      !status.ok())
    return status;
  std::int64_t version = 0;
  {
    Statement read(database.handle(), "SELECT coalesce(max(version), 0) FROM schema_version");
    auto row = read.step();
    if (!row.ok()) return row.status();
    version = read.integer(0);
  }
  if (version > static_cast<std::int64_t>(kSteps.size()))
    return absl::FailedPreconditionError(absl::StrCat("the store was written by a newer program: schema version ",
                                                      version, ", this program knows up to ", kSteps.size()));
  for (; version < static_cast<std::int64_t>(kSteps.size()); ++version) {
    Transaction transaction(database);
    if (!transaction.begun().ok()) return transaction.begun();
    if (auto status = database.execute(kSteps[version]); !status.ok()) return status;
    if (auto status = database.execute(
            absl::StrCat("DELETE FROM schema_version; INSERT INTO schema_version VALUES(", version + 1, ")"));
        !status.ok())
      return status;
    if (auto status = transaction.commit(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace penstock::controller
