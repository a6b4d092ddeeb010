#include "snapshotter/disk_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "base/files.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

constexpr int kMaxDepth = 200;

class Measure {
 public:
  Measure(dev_t device, const Cancellation& cancellation)
      : device_(device), cancellation_(cancellation) {}

  void Count(const struct stat& info) {
    if (info.st_nlink > 1 && !S_ISDIR(info.st_mode) && !linked_.insert(info.st_ino).second) return;
    usage_.bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    ++usage_.inodes;
  }

  void Below(UniqueFd fd, int depth) {
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(fdopendir(fd.get()), closedir);
    if (!dir) return;
    fd.release();
    while (const dirent* entry = readdir(dir.get())) {
      if (!cancellation_.Check().ok()) return;
      const absl::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      struct stat info;
      if (fstatat(dirfd(dir.get()), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (info.st_dev != device_) continue;
      Count(info);
      if (!S_ISDIR(info.st_mode) || depth == kMaxDepth) continue;
      UniqueFd child(
          openat(dirfd(dir.get()), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (child) Below(std::move(child), depth + 1);
    }
  }

  const DiskUsage& usage() const { return usage_; }

 private:
  const dev_t device_;
  const Cancellation& cancellation_;
  DiskUsage usage_;
  absl::flat_hash_set<ino_t> linked_;
};

}  // namespace

absl::StatusOr<DiskUsage> MeasureDiskUsage(const std::string& path,
                                           const Cancellation& cancellation) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY | O_DIRECTORY));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus("stat", path);
  Measure measure(info.st_dev, cancellation);
  measure.Count(info);
  measure.Below(std::move(fd), 0);
  RETURN_IF_ERROR_WITH(cancellation.Check(), path);
  return measure.usage();
}

}  // namespace berth
