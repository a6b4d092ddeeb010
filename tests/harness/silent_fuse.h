// A FUSE file system that stops answering: what a volume, a log directory or a disk does at its worst.
//
//   ASSERT_OK_AND_ASSIGN(auto fuse, SilentFuse::Mount(directory));
//   ... `cat DIRECTORY/file` in a container: uninterruptible sleep ...
//   fuse.reset();  // aborts the connection: who sleeps in it gets ECONNABORTED
//
// Every name in it is a file, those that begin with `dir` are directories. Files can be opened; reads and
// writes are never answered. The kernel may not interrupt a request that the server has read, so its
// process sleeps uninterruptibly, whatever signal comes.
#ifndef BERTH_TESTS_HARNESS_SILENT_FUSE_H_
#define BERTH_TESTS_HARNESS_SILENT_FUSE_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace berth::testing {

class SilentFuse {
 public:
  // Makes `directory` if it is missing.
  static absl::StatusOr<std::unique_ptr<SilentFuse>> Mount(const std::string& directory);
  ~SilentFuse();
  SilentFuse(const SilentFuse&) = delete;
  SilentFuse& operator=(const SilentFuse&) = delete;

  // From now on nothing is answered: a look-up sleeps, too.
  void Silence() { silent_ = true; }
  // Requests that were read and will not be answered.
  int held() const { return held_; }
  // Returns once there is one; false after ten seconds.
  bool WaitUntilHeld(int count = 1) const;

 private:
  SilentFuse(std::string directory, UniqueFd device, UniqueFd stop);
  void Serve();
  void Answer(const std::vector<char>& request);
  void Reply(uint64_t unique, int error, const void* data, size_t size);

  const std::string directory_;
  UniqueFd device_;
  const UniqueFd stop_;
  std::atomic<bool> silent_{false};
  std::atomic<int> held_{0};
  std::thread thread_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_SILENT_FUSE_H_
