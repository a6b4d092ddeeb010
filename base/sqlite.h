// SQLite with Status: one file, one writer at a time, and readers that never wait for it.
//
// Vocabulary. A *database* is one open file in WAL mode. A *transaction* is the only way to run
// statements; it holds the database's write mutex (or its read mutex) from its birth to its commit
// or destruction, so do nothing long within it: no file system walk, no network, no other lock. A
// *component* (snapshotter, images, pods, ...) owns some tables and their migrations.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Database> db, Database::Open(root + "/state.db", {}));
//   RETURN_IF_ERROR(db->Migrate("layers", kLayerMigrations));
//   ASSIGN_OR_RETURN(Transaction tx, db->Write(Durability::kFull));
//   RETURN_IF_ERROR(tx.Prepare("INSERT INTO layers(diff_id, size) VALUES(?, ?)")
//                       .Text(diff_id.str()).Int64(size).Run());
//   RETURN_IF_ERROR(tx.Commit());
//
//   ASSIGN_OR_RETURN(Transaction tx, db->Read());
//   Statement query = tx.Prepare("SELECT diff_id, size FROM layers WHERE size > ?");
//   query.Int64(100);
//   while (true) {
//     ASSIGN_OR_RETURN(bool row, query.Step());
//     if (!row) break;
//     ASSIGN_OR_RETURN(std::string diff_id, query.GetText(0));
//   }
//
// Errors: the message starts with the operation and the file (`commit /var/lib/berth/state.db:
// ...`).
//   ResourceExhausted   the disk or memory is full; the transaction is rolled back, reads go on
//   DataLoss            the file is damaged or is no database, or a column has another type than
//   asked AlreadyExists       a unique key is taken FailedPrecondition  another constraint, or a
//   newer schema (see Migrate) Unavailable         another process kept the file locked beyond the
//   time-out Internal            the rest: SQL that doesn't parse, misuse, I/O errors
//
// After SIGKILL every committed transaction is there and none in part. After a power cut those
// committed with kFull are there; of those with kNormal a last few may be missing, in order.
#ifndef BERTH_BASE_SQLITE_H_
#define BERTH_BASE_SQLITE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

struct sqlite3_stmt;

namespace berth {

class SqliteConnection;  // One handle with its mutex and its prepared statements; in sqlite.cc.

// How far a commit goes before it returns.
enum class Durability {
  kNormal,  // Survives SIGKILL. Costs no fsync.
  kFull,    // Survives a power cut. One fsync of the write-ahead log.
};

// A prepared statement within a transaction; it must not outlive it. Not thread-safe. A failure to
// prepare or to bind shows at the next Step or Run. Columns count from 0, parameters are bound in
// order.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Bind the next parameter. The bytes are copied.
  Statement& Text(absl::string_view value);
  Statement& Blob(absl::string_view value);
  Statement& Int64(int64_t value);
  Statement& Null();

  // True if there is a row to read, false at the end.
  absl::StatusOr<bool> Step();
  // Steps to the end, drops rows, and resets the statement so that it can be bound and run again.
  absl::Status Run();

  // The columns of the current row; DataLoss if the stored type is another.
  absl::StatusOr<std::string> GetText(int column) const;
  absl::StatusOr<std::string> GetBlob(int column) const;
  absl::StatusOr<int64_t> GetInt64(int column) const;
  bool IsNull(int column) const;

 private:
  friend class Transaction;
  Statement(SqliteConnection* connection, absl::string_view sql);
  void Bound(int result);
  absl::Status CheckColumn(int column, int type) const;

  SqliteConnection* connection_;
  sqlite3_stmt* stmt_ = nullptr;
  std::string sql_;
  int next_parameter_ = 1;
  absl::Status status_;
};

// Rolled back when destroyed without Commit. One thread uses it.
class Transaction {
 public:
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // Statements are cached by their text for the life of the database: pass constant texts.
  Statement Prepare(absl::string_view sql);
  // Runs several statements without parameters.
  absl::Status Execute(const std::string& sql);
  // After an error nothing of the transaction is in the file.
  absl::Status Commit();

 private:
  friend class Database;
  explicit Transaction(SqliteConnection* connection) : connection_(connection) {}
  SqliteConnection* connection_;  // Its mutex is held; null when ended.
};

// One additive step of a component's schema. Never edit one that has been released: add another.
struct Migration {
  int version;                // 1, 2, 3, ... in order
  const char* berth_version;  // The first release that has it, named to whoever runs an older one.
  const char* sql;
};

class Database {
 public:
  struct Options {
    bool check = false;  // PRAGMA quick_check: reads the whole file.
    absl::Duration busy_timeout = absl::Seconds(5);
  };

  // Opens or creates the file (mode 0600; its directory must exist), in WAL mode with foreign keys
  // on. DataLoss if it is damaged: see OpenOrSetAside.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path,
                                                        const Options& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Brings `component`'s tables to the last of `migrations`, in one full transaction; a repeated
  // call does nothing. FailedPrecondition names the Berth version that is needed if the file holds
  // a newer schema than this build knows.
  absl::Status Migrate(absl::string_view component, absl::Span<const Migration> migrations);

  // Begins a write; waits for the one that is under way, in this process or (up to busy_timeout) in
  // another.
  absl::StatusOr<Transaction> Write(Durability durability);
  // Begins a read of the last committed state, on a connection of its own: it waits for other reads
  // only. Its Commit does nothing.
  absl::StatusOr<Transaction> Read();

  // Copies the write-ahead log into the file and truncates it. For an orderly end.
  absl::Status Checkpoint();

  const std::string& path() const { return path_; }

 private:
  Database(std::string path, std::unique_ptr<SqliteConnection> writer,
           std::unique_ptr<SqliteConnection> reader);

  const std::string path_;
  const std::unique_ptr<SqliteConnection> writer_;
  const std::unique_ptr<SqliteConnection> reader_;
};

struct OpenedDatabase {
  std::unique_ptr<Database> database;
  std::string set_aside;  // Where a damaged file went; empty if the file was sound or new.
  absl::Status damage;    // What was found; OK if the file was sound or new.
};

// Opens with a check. A damaged file is renamed to PATH.damaged-TIME (with its -wal), and a new,
// empty one takes its place: each component rebuilds its own. Only DataLoss does that; a full disk
// or a missing permission is an error as usual.
absl::StatusOr<OpenedDatabase> OpenOrSetAside(const std::string& path);

}  // namespace berth

#endif  // BERTH_BASE_SQLITE_H_
