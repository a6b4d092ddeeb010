// Paths of the plan beneath the root file system, whatever links an image has. Internal to executor*.cc.
#ifndef BERTH_RUNTIME_EXECUTOR_PATHS_H_
#define BERTH_RUNTIME_EXECUTOR_PATHS_H_

#include <string.h>
#include <unistd.h>

#include "runtime/executor_context.h"

namespace berth {

enum class Make { kNothing, kDirectory, kFile };

// Opens (O_PATH) what `target` names beneath the root, making what is missing. -1 with errno.
// Uses c.path2.
int OpenTarget(ExecutorContext& c, const char* target, Make make, uint64_t more_resolve = 0);

// Opens the directory that `path` is in and points `leaf` at its last component. Uses c.path, too.
int OpenParent(ExecutorContext& c, const char* path, const char** leaf);

// Keeps the descriptor of the last parent: /dev's nodes and links come in a row.
class ParentCache {
 public:
  explicit ParentCache(ExecutorContext& c) : c_(c) {}
  ~ParentCache() {
    if (fd_ >= 0) close(fd_);
  }
  ParentCache(const ParentCache&) = delete;
  ParentCache& operator=(const ParentCache&) = delete;

  int Open(const char* path, const char** leaf) {
    const size_t length = static_cast<size_t>(strrchr(path, '/') - path);
    if (fd_ >= 0 && length == length_ && memcmp(path, path_, length) == 0) {
      *leaf = path + length + 1;
      return fd_;
    }
    if (fd_ >= 0) close(fd_);
    fd_ = OpenParent(c_, path, leaf);
    path_ = path;
    length_ = length;
    return fd_;
  }

 private:
  ExecutorContext& c_;
  int fd_ = -1;
  const char* path_ = nullptr;
  size_t length_ = 0;
};

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_PATHS_H_
