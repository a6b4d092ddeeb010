#include "base/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"

namespace berth {
namespace {

absl::StatusCode CodeOf(int extended, int system_errno) {
  switch (extended & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::StatusCode::kUnavailable;
    case SQLITE_READONLY:
      return absl::StatusCode::kFailedPrecondition;
    case SQLITE_CONSTRAINT:
      return extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY ||
                     extended == SQLITE_CONSTRAINT_ROWID
                 ? absl::StatusCode::kAlreadyExists
                 : absl::StatusCode::kFailedPrecondition;
    case SQLITE_IOERR:
      if (extended == SQLITE_IOERR_CORRUPTFS || extended == SQLITE_IOERR_DATA) {
        return absl::StatusCode::kDataLoss;
      }
      [[fallthrough]];
    case SQLITE_CANTOPEN:
      return system_errno != 0 ? ErrnoStatusOf(system_errno, "").code()
                               : absl::StatusCode::kInternal;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

// One sqlite3 handle. Statements and transactions use it while they hold `mu`.
class SqliteConnection {
 public:
  SqliteConnection(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  ~SqliteConnection() {
    for (const auto& [sql, stmt] : statements_) sqlite3_finalize(stmt);
    sqlite3_close_v2(handle_);
  }

  // The status of the last result on this handle, which was `result`.
  absl::Status Error(int result, absl::string_view operation) const {
    const int system_errno = sqlite3_system_errno(handle_);
    return absl::Status(CodeOf(sqlite3_extended_errcode(handle_), system_errno),
                        absl::StrCat(operation, " ", path_, ": ", sqlite3_errmsg(handle_)));
  }

  absl::Status Execute(const char* sql, absl::string_view operation) {
    const int result = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
    return result == SQLITE_OK ? absl::OkStatus() : Error(result, operation);
  }

  // The statement leaves the cache while it is in use, so that nested use of one text works.
  absl::StatusOr<sqlite3_stmt*> Take(absl::string_view sql) {
    if (auto it = statements_.find(sql); it != statements_.end()) {
      sqlite3_stmt* stmt = it->second;
      statements_.erase(it);
      return stmt;
    }
    sqlite3_stmt* stmt = nullptr;
    const int result = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &stmt, nullptr);
    if (result != SQLITE_OK) return Error(result, absl::StrCat("prepare \"", sql, "\" on"));
    return stmt;
  }

  void GiveBack(const std::string& sql, sqlite3_stmt* stmt) {
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    if (!statements_.emplace(sql, stmt).second) sqlite3_finalize(stmt);
  }

  // PRAGMA synchronous takes effect when it is compiled and is refused within a transaction.
  absl::Status SetDurability(Durability durability) {
    if (durability == durability_) return absl::OkStatus();
    RETURN_IF_ERROR(Execute(
        durability == Durability::kFull ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
        "set the durability of"));
    durability_ = durability;
    return absl::OkStatus();
  }

  absl::Status Begin(const char* sql) {
    RETURN_IF_ERROR(Run(sql, "begin a transaction on"));
    in_transaction_ = true;
    return absl::OkStatus();
  }

  absl::Status Commit() {
    RETURN_IF_ERROR(Failpoint("sqlite.commit"));
    RETURN_IF_ERROR(Run("COMMIT", "commit"));
    in_transaction_ = false;
    Failpoint("sqlite.committed").IgnoreError();  // for crashes: there is no way back
    return absl::OkStatus();
  }

  void Rollback() {
    if (!std::exchange(in_transaction_, false)) return;
    // SQLite has rolled back by itself after some errors (full disk, I/O).
    if (sqlite3_get_autocommit(handle_) != 0) return;
    absl::Status status = Run("ROLLBACK", "roll back");
    if (!status.ok()) LogWarning(status.message(), ", ignoring");
  }

  absl::Status Run(const char* sql, absl::string_view operation) {
    ASSIGN_OR_RETURN(sqlite3_stmt * stmt, Take(sql));
    const int result = sqlite3_step(stmt);
    absl::Status status =
        result == SQLITE_DONE || result == SQLITE_ROW ? absl::OkStatus() : Error(result, operation);
    GiveBack(sql, stmt);
    return status;
  }

  Mutex mu;  // Held by the transaction that uses this connection.

 private:
  sqlite3* const handle_;
  const std::string path_;
  absl::flat_hash_map<std::string, sqlite3_stmt*> statements_;
  Durability durability_ = Durability::kFull;  // SQLite's default
  bool in_transaction_ = false;
};

// ---- Statement

Statement::Statement(SqliteConnection* connection, absl::string_view sql)
    : connection_(connection), sql_(sql) {
  absl::StatusOr<sqlite3_stmt*> stmt = connection->Take(sql);
  if (stmt.ok()) {
    stmt_ = *stmt;
  } else {
    status_ = stmt.status();
  }
}

Statement::Statement(Statement&& other) noexcept
    : connection_(other.connection_),
      stmt_(std::exchange(other.stmt_, nullptr)),
      sql_(std::move(other.sql_)),
      next_parameter_(other.next_parameter_),
      status_(std::move(other.status_)) {}

Statement::~Statement() {
  if (stmt_ != nullptr) connection_->GiveBack(sql_, stmt_);
}

void Statement::Bound(int result) {
  if (result == SQLITE_OK || !status_.ok()) return;
  status_ = connection_->Error(
      result, absl::StrCat("bind parameter ", next_parameter_ - 1, " of \"", sql_, "\" on"));
}

Statement& Statement::Text(absl::string_view value) {
  if (stmt_ == nullptr) return *this;
  // A null pointer would bind NULL.
  Bound(sqlite3_bind_text64(stmt_, next_parameter_++, value.empty() ? "" : value.data(),
                            value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::Blob(absl::string_view value) {
  if (stmt_ == nullptr) return *this;
  Bound(sqlite3_bind_blob64(stmt_, next_parameter_++, value.empty() ? "" : value.data(),
                            value.size(), SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::Int64(int64_t value) {
  if (stmt_ != nullptr) Bound(sqlite3_bind_int64(stmt_, next_parameter_++, value));
  return *this;
}

Statement& Statement::Null() {
  if (stmt_ != nullptr) Bound(sqlite3_bind_null(stmt_, next_parameter_++));
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  RETURN_IF_ERROR(status_);
  const int result = sqlite3_step(stmt_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  status_ = connection_->Error(result, absl::StrCat("run \"", sql_, "\" on"));
  return status_;
}

absl::Status Statement::Run() {
  while (true) {
    ASSIGN_OR_RETURN(bool row, Step());
    if (!row) break;
  }
  sqlite3_reset(stmt_);
  next_parameter_ = 1;
  return absl::OkStatus();
}

absl::Status Statement::CheckColumn(int column, int type) const {
  if (column >= sqlite3_data_count(stmt_)) {
    return absl::InternalError(absl::StrCat("column ", column, " of \"", sql_, "\" has no value"));
  }
  const int stored = sqlite3_column_type(stmt_, column);
  if (stored == type) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("column ", sqlite3_column_name(stmt_, column), " of \"",
                                          sql_, "\" holds type ", stored, " instead of ", type));
}

absl::StatusOr<std::string> Statement::GetText(int column) const {
  RETURN_IF_ERROR(CheckColumn(column, SQLITE_TEXT));
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(stmt_, column));
  if (text == nullptr) return absl::ResourceExhaustedError("read a column: out of memory");
  return std::string(text, sqlite3_column_bytes(stmt_, column));
}

absl::StatusOr<std::string> Statement::GetBlob(int column) const {
  RETURN_IF_ERROR(CheckColumn(column, SQLITE_BLOB));
  const auto* data = static_cast<const char*>(sqlite3_column_blob(stmt_, column));
  return data == nullptr ? std::string() : std::string(data, sqlite3_column_bytes(stmt_, column));
}

absl::StatusOr<int64_t> Statement::GetInt64(int column) const {
  RETURN_IF_ERROR(CheckColumn(column, SQLITE_INTEGER));
  return sqlite3_column_int64(stmt_, column);
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(stmt_, column) == SQLITE_NULL;
}

// ---- Transaction

Transaction::Transaction(Transaction&& other) noexcept
    : connection_(std::exchange(other.connection_, nullptr)) {}

Transaction::~Transaction() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (connection_ == nullptr) return;
  connection_->Rollback();
  connection_->mu.Unlock();
}

Statement Transaction::Prepare(absl::string_view sql) { return Statement(connection_, sql); }

absl::Status Transaction::Execute(const std::string& sql) {
  return connection_->Execute(sql.c_str(), "run statements on");
}

absl::Status Transaction::Commit() { return connection_->Commit(); }

// ---- Database

namespace {

absl::StatusOr<std::unique_ptr<SqliteConnection>> Connect(const std::string& path, int flags,
                                                          absl::Duration busy_timeout) {
  sqlite3* handle = nullptr;
  // NOMUTEX: SqliteConnection's own mutex serialises its use.
  const int result = sqlite3_open_v2(path.c_str(), &handle,
                                     flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (handle == nullptr) return absl::ResourceExhaustedError("open SQLite: out of memory");
  auto connection = std::make_unique<SqliteConnection>(handle, path);
  if (result != SQLITE_OK) return connection->Error(result, "open");
  sqlite3_busy_timeout(handle, static_cast<int>(absl::ToInt64Milliseconds(busy_timeout)));
  // cache_size in KiB when negative: the tables are small and readers keep them in memory anyway.
  RETURN_IF_ERROR(connection->Execute(
      "PRAGMA foreign_keys=ON; PRAGMA cache_size=-512; PRAGMA temp_store=MEMORY", "set up"));
  return connection;
}

absl::Status QuickCheck(SqliteConnection* connection, const std::string& path) {
  ASSIGN_OR_RETURN(sqlite3_stmt * stmt, connection->Take("PRAGMA quick_check(1)"));
  absl::Cleanup finalize = [stmt] { sqlite3_finalize(stmt); };
  const int result = sqlite3_step(stmt);
  if (result != SQLITE_ROW) return connection->Error(result, "check");
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(stmt, 0));
  if (text != nullptr && absl::string_view(text) == "ok") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("check ", path, ": ", text == nullptr ? "" : text));
}

}  // namespace

Database::Database(std::string path, std::unique_ptr<SqliteConnection> writer,
                   std::unique_ptr<SqliteConnection> reader)
    : path_(std::move(path)), writer_(std::move(writer)), reader_(std::move(reader)) {}

Database::~Database() = default;

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path,
                                                         const Options& options) {
  {
    // SQLite would create it with mode 0644; -wal and -shm take the mode of the main file.
    ASSIGN_OR_RETURN(UniqueFd created, OpenFile(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<SqliteConnection> writer,
                   Connect(path, SQLITE_OPEN_READWRITE, options.busy_timeout));
  RETURN_IF_ERROR(writer->Execute("PRAGMA journal_mode=WAL", "set the journal mode of"));
  // Bounds what stays on disk after a burst of writes.
  RETURN_IF_ERROR(writer->Execute("PRAGMA journal_size_limit=8388608", "limit the log of"));
  if (options.check) RETURN_IF_ERROR(QuickCheck(writer.get(), path));
  ASSIGN_OR_RETURN(std::unique_ptr<SqliteConnection> reader,
                   Connect(path, SQLITE_OPEN_READONLY, options.busy_timeout));
  return std::unique_ptr<Database>(new Database(path, std::move(writer), std::move(reader)));
}

absl::StatusOr<Transaction> Database::Write(Durability durability) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  writer_->mu.Lock();
  Transaction transaction(writer_.get());  // unlocks when it ends
  RETURN_IF_ERROR(writer_->SetDurability(durability));
  // IMMEDIATE takes the write lock now: a later upgrade could meet SQLITE_BUSY half-way.
  RETURN_IF_ERROR(writer_->Begin("BEGIN IMMEDIATE"));
  return transaction;
}

absl::StatusOr<Transaction> Database::Read() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  reader_->mu.Lock();
  Transaction transaction(reader_.get());
  RETURN_IF_ERROR(reader_->Begin("BEGIN"));
  return transaction;
}

absl::Status Database::Checkpoint() {
  MutexLock lock(&writer_->mu);
  return writer_->Execute("PRAGMA wal_checkpoint(TRUNCATE)", "checkpoint");
}

absl::Status Database::Migrate(absl::string_view component,
                               absl::Span<const Migration> migrations) {
  ASSIGN_OR_RETURN(Transaction tx, Write(Durability::kFull));
  RETURN_IF_ERROR(tx.Execute(
      "CREATE TABLE IF NOT EXISTS schema_versions(component TEXT PRIMARY KEY, version INTEGER NOT "
      "NULL, berth_version TEXT NOT NULL) WITHOUT ROWID"));
  int64_t present = 0;
  {
    Statement query =
        tx.Prepare("SELECT version, berth_version FROM schema_versions WHERE component=?");
    query.Text(component);
    ASSIGN_OR_RETURN(bool row, query.Step());
    if (row) {
      ASSIGN_OR_RETURN(present, query.GetInt64(0));
      ASSIGN_OR_RETURN(std::string needed, query.GetText(1));
      const int known = migrations.empty() ? 0 : migrations.back().version;
      if (present > known) {
        return absl::FailedPreconditionError(
            absl::StrCat(path_, " holds version ", present, " of the tables of ", component,
                         ", this build knows ", known, ": it needs berth ", needed, " or newer"));
      }
    }
  }
  bool changed = false;
  for (const Migration& migration : migrations) {
    if (migration.version <= present) continue;
    RETURN_IF_ERROR_WITH(tx.Execute(migration.sql),
                         absl::StrCat("migrate ", component, " to ", migration.version));
    RETURN_IF_ERROR(tx.Prepare("INSERT OR REPLACE INTO schema_versions VALUES(?, ?, ?)")
                        .Text(component)
                        .Int64(migration.version)
                        .Text(migration.berth_version)
                        .Run());
    changed = true;
  }
  return changed ? tx.Commit() : absl::OkStatus();
}

// ---- A damaged file

namespace {

absl::StatusOr<std::string> SetAside(const std::string& path) {
  const std::string aside = absl::StrCat(
      path, ".damaged-", absl::FormatTime("%Y%m%dT%H%M%E6S", absl::Now(), absl::UTCTimeZone()));
  // The log first: should a crash come between, an old log never meets a new file.
  for (const char* suffix : {"-wal", "-shm", ""}) {
    const std::string from = path + suffix;
    if (rename(from.c_str(), (aside + suffix).c_str()) != 0 && errno != ENOENT) {
      return ErrnoStatus("rename", from);
    }
  }
  return aside;
}

}  // namespace

absl::StatusOr<OpenedDatabase> OpenOrSetAside(const std::string& path) {
  OpenedDatabase opened;
  const Database::Options options{.check = true};
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(path, options);
  if (database.status().code() == absl::StatusCode::kDataLoss) {
    opened.damage = database.status();
    ASSIGN_OR_RETURN(opened.set_aside, SetAside(path));
    database = Database::Open(path, options);
  }
  RETURN_IF_ERROR(database.status());
  opened.database = *std::move(database);
  return opened;
}

}  // namespace berth
