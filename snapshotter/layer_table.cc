#include "snapshotter/layer_table.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr Migration kMigrations[] = {
    {1, "0.1.0", R"sql(
      CREATE TABLE layers(
        generation TEXT PRIMARY KEY,
        diff_id TEXT NOT NULL,
        tar_bytes INTEGER NOT NULL,
        file_bytes INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        digest_list TEXT NOT NULL,
        implied_offset INTEGER NOT NULL,
        opaque_root INTEGER NOT NULL,
        retired INTEGER NOT NULL DEFAULT 0,
        created INTEGER NOT NULL
      ) WITHOUT ROWID;
      CREATE INDEX layers_by_diff_id ON layers(diff_id);
      CREATE TABLE layer_references(
        owner TEXT NOT NULL,
        diff_id TEXT NOT NULL,
        PRIMARY KEY(owner, diff_id)
      ) WITHOUT ROWID;
      CREATE TABLE snapshots(
        id TEXT PRIMARY KEY,
        writable INTEGER NOT NULL,
        layers TEXT NOT NULL,
        created INTEGER NOT NULL
      ) WITHOUT ROWID;
      CREATE TABLE trash_emptied(times INTEGER NOT NULL);
      INSERT INTO trash_emptied VALUES(0);
    )sql"},
    {2, "0.1.0", R"sql(
      ALTER TABLE layers ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE layers ADD COLUMN inodes INTEGER NOT NULL DEFAULT 0;
    )sql"},
};

}  // namespace

absl::Status MigrateLayerTables(Database& database) {
  return database.Migrate("snapshotter", kMigrations);
}

absl::Status InsertLayer(Transaction& transaction, const LayerRecord& record) {
  return transaction
      .Prepare(
          "INSERT INTO layers(generation, diff_id, tar_bytes, file_bytes, entries, digest_list,"
          " implied_offset, opaque_root, retired, created, disk_bytes, inodes)"
          " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .Text(record.info.generation.str())
      .Text(record.info.diff_id.str())
      .Int64(static_cast<int64_t>(record.info.tar_bytes))
      .Int64(static_cast<int64_t>(record.info.file_bytes))
      .Int64(static_cast<int64_t>(record.info.entries))
      .Text(record.digest_list)
      .Int64(static_cast<int64_t>(record.implied_offset))
      .Int64(record.opaque_root ? 1 : 0)
      .Int64(record.retired ? 1 : 0)
      .Int64(absl::ToUnixNanos(record.info.created))
      .Int64(static_cast<int64_t>(record.info.disk_bytes))
      .Int64(static_cast<int64_t>(record.info.inodes))
      .Run();
}

absl::StatusOr<std::vector<LayerRecord>> LoadLayers(Transaction& transaction) {
  Statement query = transaction.Prepare(
      "SELECT generation, diff_id, tar_bytes, file_bytes, entries, digest_list, implied_offset,"
      " opaque_root, retired, created, disk_bytes, inodes FROM layers");
  std::vector<LayerRecord> records;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return records;
    LayerRecord record;
    ASSIGN_OR_RETURN(std::string generation, query.GetText(0));
    ASSIGN_OR_RETURN(std::string diff_id, query.GetText(1));
    ASSIGN_OR_RETURN(record.info.tar_bytes, query.GetInt64(2));
    ASSIGN_OR_RETURN(record.info.file_bytes, query.GetInt64(3));
    ASSIGN_OR_RETURN(record.info.entries, query.GetInt64(4));
    ASSIGN_OR_RETURN(record.digest_list, query.GetText(5));
    ASSIGN_OR_RETURN(record.implied_offset, query.GetInt64(6));
    ASSIGN_OR_RETURN(const int64_t opaque_root, query.GetInt64(7));
    ASSIGN_OR_RETURN(const int64_t retired, query.GetInt64(8));
    ASSIGN_OR_RETURN(const int64_t created, query.GetInt64(9));
    ASSIGN_OR_RETURN(record.info.disk_bytes, query.GetInt64(10));
    ASSIGN_OR_RETURN(record.info.inodes, query.GetInt64(11));
    if (!IsGeneration(generation)) {
      return absl::DataLossError(absl::StrCat("layers: bad generation ", generation));
    }
    record.info.generation = LayerGeneration(std::move(generation));
    record.info.diff_id = DiffId(std::move(diff_id));
    record.opaque_root = opaque_root != 0;
    record.retired = retired != 0;
    record.info.created = absl::FromUnixNanos(created);
    records.push_back(std::move(record));
  }
}

absl::Status InsertSnapshot(Transaction& transaction, const SnapshotInfo& info) {
  return transaction
      .Prepare("INSERT INTO snapshots(id, writable, layers, created) VALUES(?, ?, ?, ?)")
      .Text(info.id.str())
      .Int64(info.writable ? 1 : 0)
      .Text(FormatGenerations(info.layers))
      .Int64(absl::ToUnixNanos(info.created))
      .Run();
}

absl::StatusOr<std::vector<SnapshotInfo>> LoadSnapshots(Transaction& transaction) {
  Statement query = transaction.Prepare("SELECT id, writable, layers, created FROM snapshots");
  std::vector<SnapshotInfo> snapshots;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return snapshots;
    SnapshotInfo info;
    ASSIGN_OR_RETURN(std::string id, query.GetText(0));
    ASSIGN_OR_RETURN(const int64_t writable, query.GetInt64(1));
    ASSIGN_OR_RETURN(const std::string layers, query.GetText(2));
    ASSIGN_OR_RETURN(const int64_t created, query.GetInt64(3));
    info.id = SnapshotId(std::move(id));
    info.writable = writable != 0;
    ASSIGN_OR_RETURN_WITH(info.layers, ParseGenerations(layers), "snapshots");
    info.created = absl::FromUnixNanos(created);
    snapshots.push_back(std::move(info));
  }
}

absl::StatusOr<std::vector<std::pair<std::string, DiffId>>> LoadReferences(
    Transaction& transaction) {
  Statement query = transaction.Prepare("SELECT owner, diff_id FROM layer_references");
  std::vector<std::pair<std::string, DiffId>> references;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return references;
    ASSIGN_OR_RETURN(std::string owner, query.GetText(0));
    ASSIGN_OR_RETURN(std::string diff_id, query.GetText(1));
    references.emplace_back(std::move(owner), DiffId(std::move(diff_id)));
  }
}

std::string FormatGenerations(const std::vector<LayerGeneration>& generations) {
  return absl::StrJoin(generations, ",", [](std::string* out, const LayerGeneration& generation) {
    out->append(generation.str());
  });
}

absl::StatusOr<std::vector<LayerGeneration>> ParseGenerations(absl::string_view text) {
  std::vector<LayerGeneration> generations;
  for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    if (!IsGeneration(part)) {
      return absl::DataLossError(absl::StrCat("bad generation ", absl::CHexEscape(part)));
    }
    generations.emplace_back(std::string(part));
  }
  return generations;
}

bool IsGeneration(absl::string_view text) {
  if (text.size() != 16) return false;
  for (const char c : text) {
    if (!absl::ascii_isdigit(c) && (c < 'a' || c > 'f')) return false;
  }
  return true;
}

}  // namespace berth
