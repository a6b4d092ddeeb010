#include "server/images/image_records.h"

#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr Migration kMigrations[] = {
    {1, "0.1.0",
     "CREATE TABLE images(id TEXT PRIMARY KEY, manifest TEXT NOT NULL, size INTEGER NOT NULL,"
     " layers TEXT NOT NULL) WITHOUT ROWID;"
     "CREATE TABLE image_names(name TEXT PRIMARY KEY, image TEXT NOT NULL) WITHOUT ROWID;"
     "CREATE TABLE images_in_use(id INTEGER PRIMARY KEY CHECK(id = 1));"},
};

}  // namespace

absl::StatusOr<bool> ImageRecords::Open() {
  RETURN_IF_ERROR(database_->Migrate("images", kMigrations));
  ASSIGN_OR_RETURN(Transaction tx, database_->Read());
  Statement query = tx.Prepare("SELECT id FROM images_in_use");
  ASSIGN_OR_RETURN(const bool in_use, query.Step());
  return !in_use;
}

absl::Status ImageRecords::MarkInUse() {
  ASSIGN_OR_RETURN(Transaction tx, database_->Write(Durability::kFull));
  RETURN_IF_ERROR(tx.Prepare("INSERT OR IGNORE INTO images_in_use(id) VALUES(1)").Run());
  return tx.Commit();
}

absl::StatusOr<std::vector<ImageRecord>> ImageRecords::Images() {
  ASSIGN_OR_RETURN(Transaction tx, database_->Read());
  Statement query = tx.Prepare("SELECT id, manifest, size, layers FROM images ORDER BY id");
  std::vector<ImageRecord> records;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return records;
    ImageRecord record;
    ASSIGN_OR_RETURN(std::string id, query.GetText(0));
    record.id = ImageId(std::move(id));
    ASSIGN_OR_RETURN(std::string manifest, query.GetText(1));
    record.manifest = Digest(std::move(manifest));
    ASSIGN_OR_RETURN(const int64_t size, query.GetInt64(2));
    record.size = static_cast<uint64_t>(size);
    ASSIGN_OR_RETURN(const std::string layers, query.GetText(3));
    for (const absl::string_view layer : absl::StrSplit(layers, ' ', absl::SkipEmpty())) {
      record.layers.emplace_back(std::string(layer));
    }
    records.push_back(std::move(record));
  }
}

absl::StatusOr<std::vector<ImageName>> ImageRecords::Names() {
  ASSIGN_OR_RETURN(Transaction tx, database_->Read());
  Statement query = tx.Prepare("SELECT name, image FROM image_names ORDER BY name");
  std::vector<ImageName> names;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return names;
    ImageName name;
    ASSIGN_OR_RETURN(name.name, query.GetText(0));
    ASSIGN_OR_RETURN(std::string image, query.GetText(1));
    name.image = ImageId(std::move(image));
    names.push_back(std::move(name));
  }
}

absl::Status ImageRecords::Put(const ImageRecord& image, const std::vector<std::string>& names) {
  const std::string layers = absl::StrJoin(
      image.layers, " ", [](std::string* out, const DiffId& layer) { out->append(layer.str()); });
  ASSIGN_OR_RETURN(Transaction tx, database_->Write(Durability::kFull));
  RETURN_IF_ERROR(
      tx.Prepare("INSERT OR REPLACE INTO images(id, manifest, size, layers) VALUES(?, ?, ?, ?)")
          .Text(image.id.str())
          .Text(image.manifest.str())
          .Int64(static_cast<int64_t>(image.size))
          .Text(layers)
          .Run());
  for (const std::string& name : names) {
    RETURN_IF_ERROR(tx.Prepare("INSERT OR REPLACE INTO image_names(name, image) VALUES(?, ?)")
                        .Text(name)
                        .Text(image.id.str())
                        .Run());
  }
  return tx.Commit();
}

absl::Status ImageRecords::RemoveName(const std::string& name) {
  ASSIGN_OR_RETURN(Transaction tx, database_->Write(Durability::kFull));
  RETURN_IF_ERROR(tx.Prepare("DELETE FROM image_names WHERE name = ?").Text(name).Run());
  return tx.Commit();
}

absl::Status ImageRecords::RemoveImage(const ImageId& id) {
  ASSIGN_OR_RETURN(Transaction tx, database_->Write(Durability::kFull));
  RETURN_IF_ERROR(tx.Prepare("DELETE FROM image_names WHERE image = ?").Text(id.str()).Run());
  RETURN_IF_ERROR(tx.Prepare("DELETE FROM images WHERE id = ?").Text(id.str()).Run());
  return tx.Commit();
}

}  // namespace berth
