// The two tables of records in state.db: `pods` and `containers`, alike in shape.
//
// The key is created_at: it never repeats and only grows, so that a new row goes to the end of the
// one B-tree that a put touches. `id` is there for people who look at the file.
#ifndef BERTH_SERVER_STORE_RECORD_TABLE_H_
#define BERTH_SERVER_STORE_RECORD_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/sqlite.h"

namespace berth {

class RecordTable {
 public:
  struct Row {
    int64_t created_at_ns;
    std::string id;
    std::string record;
  };

  static RecordTable Pods();
  static RecordTable Containers();

  // Makes both tables and `store_marks`.
  static absl::Status Migrate(Database* database);

  // AlreadyExists if the key is taken.
  absl::Status Add(Transaction* tx, int64_t created_at_ns, absl::string_view id,
                   absl::string_view record) const;
  // Adds or replaces.
  absl::Status Put(Transaction* tx, int64_t created_at_ns, absl::string_view id,
                   absl::string_view record) const;
  absl::Status Remove(Transaction* tx, int64_t created_at_ns) const;
  absl::StatusOr<std::vector<Row>> Load(Transaction* tx) const;

 private:
  RecordTable(const char* add, const char* put, const char* remove, const char* load)
      : add_(add), put_(put), remove_(remove), load_(load) {}
  const char* add_;
  const char* put_;
  const char* remove_;
  const char* load_;
};

// Named numbers beside the records.
absl::Status PutMark(Transaction* tx, absl::string_view name, int64_t value);
// The larger of the value and what is there.
absl::Status RaiseMark(Transaction* tx, absl::string_view name, int64_t value);
// `absent` if it was never put.
absl::StatusOr<int64_t> GetMark(Transaction* tx, absl::string_view name, int64_t absent);

}  // namespace berth

#endif  // BERTH_SERVER_STORE_RECORD_TABLE_H_
