// Where things go whose record is gone: renamed there at once, deleted in the background.
#ifndef BERTH_SNAPSHOTTER_TRASH_H_
#define BERTH_SNAPSHOTTER_TRASH_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/sqlite.h"

namespace berth {

class Trash : public std::enable_shared_from_this<Trash> {
 public:
  using Background = std::function<void(std::function<void()>)>;

  // `directory` exists, on the file system of what is discarded.
  Trash(Database& database, std::string directory, Background background)
      : database_(database), directory_(std::move(directory)), background_(std::move(background)) {}

  // Renames `path` away and has it deleted. A missing path is OK. Any thread.
  absl::Status Discard(const std::string& path);
  // Has deleted what an earlier life left. Any thread.
  void EmptySoon();

 private:
  absl::Status Empty();

  Database& database_;
  const std::string directory_;
  const Background background_;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_TRASH_H_
