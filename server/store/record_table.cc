#include "server/store/record_table.h"

#include <utility>

#include "base/status.h"

namespace berth {
namespace {

constexpr Migration kMigrations[] = {
    {1, "0.1.0",
     "CREATE TABLE pods(created_at_ns INTEGER PRIMARY KEY, id TEXT NOT NULL, record BLOB NOT NULL);"
     "CREATE TABLE containers(created_at_ns INTEGER PRIMARY KEY, id TEXT NOT NULL, record BLOB NOT "
     "NULL);"
     "CREATE TABLE store_marks(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"},
};

}  // namespace

RecordTable RecordTable::Pods() {
  return RecordTable("INSERT INTO pods VALUES(?, ?, ?)",
                     "INSERT OR REPLACE INTO pods VALUES(?, ?, ?)",
                     "DELETE FROM pods WHERE created_at_ns=?",
                     "SELECT created_at_ns, id, record FROM pods ORDER BY created_at_ns");
}

RecordTable RecordTable::Containers() {
  return RecordTable("INSERT INTO containers VALUES(?, ?, ?)",
                     "INSERT OR REPLACE INTO containers VALUES(?, ?, ?)",
                     "DELETE FROM containers WHERE created_at_ns=?",
                     "SELECT created_at_ns, id, record FROM containers ORDER BY created_at_ns");
}

absl::Status RecordTable::Migrate(Database* database) {
  return database->Migrate("pods and containers", kMigrations);
}

absl::Status RecordTable::Add(Transaction* tx, int64_t created_at_ns, absl::string_view id,
                              absl::string_view record) const {
  return tx->Prepare(add_).Int64(created_at_ns).Text(id).Blob(record).Run();
}

absl::Status RecordTable::Put(Transaction* tx, int64_t created_at_ns, absl::string_view id,
                              absl::string_view record) const {
  return tx->Prepare(put_).Int64(created_at_ns).Text(id).Blob(record).Run();
}

absl::Status RecordTable::Remove(Transaction* tx, int64_t created_at_ns) const {
  return tx->Prepare(remove_).Int64(created_at_ns).Run();
}

absl::StatusOr<std::vector<RecordTable::Row>> RecordTable::Load(Transaction* tx) const {
  std::vector<Row> rows;
  Statement query = tx->Prepare(load_);
  while (true) {
    ASSIGN_OR_RETURN(bool more, query.Step());
    if (!more) return rows;
    Row row;
    ASSIGN_OR_RETURN(row.created_at_ns, query.GetInt64(0));
    ASSIGN_OR_RETURN(row.id, query.GetText(1));
    ASSIGN_OR_RETURN(row.record, query.GetBlob(2));
    rows.push_back(std::move(row));
  }
}

absl::Status PutMark(Transaction* tx, absl::string_view name, int64_t value) {
  return tx->Prepare("INSERT OR REPLACE INTO store_marks VALUES(?, ?)")
      .Text(name)
      .Int64(value)
      .Run();
}

absl::Status RaiseMark(Transaction* tx, absl::string_view name, int64_t value) {
  return tx
      ->Prepare(
          "INSERT INTO store_marks VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET "
          "value=max(value, excluded.value)")
      .Text(name)
      .Int64(value)
      .Run();
}

absl::StatusOr<int64_t> GetMark(Transaction* tx, absl::string_view name, int64_t absent) {
  Statement query = tx->Prepare("SELECT value FROM store_marks WHERE name=?");
  query.Text(name);
  ASSIGN_OR_RETURN(bool found, query.Step());
  if (!found) return absent;
  return query.GetInt64(0);
}

}  // namespace berth
