#include "snapshotter/trash.h"

#include <errno.h>
#include <stdio.h>

#include <string>
#include <vector>

#include "base/failpoint.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"

namespace berth {

absl::Status Trash::Discard(const std::string& path) {
  const std::string aside = absl::StrCat(directory_, "/", RandomHexId().substr(0, 16));
  if (rename(path.c_str(), aside.c_str()) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus("rename to the trash", path);
  }
  EmptySoon();
  return absl::OkStatus();
}

void Trash::EmptySoon() {
  const auto empty = [self = shared_from_this()] {
    const absl::Status status = self->Empty();
    if (!status.ok()) LogWarning("empty the trash: ", status.message(), ", ignoring");
  };
  if (background_) {
    background_(empty);
  } else {
    empty();
  }
}

absl::Status Trash::Empty() {
  RETURN_IF_ERROR(Failpoint("snapshotter.trash.empty"));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory_));
  if (names.empty()) return absl::OkStatus();
  // Records are removed before data for good: a synced commit makes those before it last as well.
  ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kFull));
  RETURN_IF_ERROR(transaction.Prepare("UPDATE trash_emptied SET times = times + 1").Run());
  RETURN_IF_ERROR(transaction.Commit());
  absl::Status first;
  for (const std::string& name : names) {
    // Another thread may be at the same one and take names from under us: go on with the next.
    first.Update(RemoveTree(absl::StrCat(directory_, "/", name)));
  }
  return first;
}

}  // namespace berth
