// A path for a unix socket that is taken safely: nobody meets a half-made or a dead one, and
// nobody's living one is taken away.
#ifndef BERTH_SERVER_CRI_UNIX_LISTENER_H_
#define BERTH_SERVER_CRI_UNIX_LISTENER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace berth {

// The path in `unix:///path`, `unix:/path` or `/path`; InvalidArgument for anything else.
absl::StatusOr<std::string> SocketPathOf(absl::string_view address);

// Used in two steps: Claim, then whoever serves binds and listens on temporary_path(), then
// Publish.
class UnixListener {
 public:
  // Locks PATH.lock and makes sure that nothing answers on `path`. Failures as in CriServer::Start.
  // A temporary socket that an earlier process left is removed.
  static absl::StatusOr<std::unique_ptr<UnixListener>> Claim(const std::string& path);

  // Removes the socket if it is still this listener's.
  ~UnixListener();
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

  const std::string& temporary_path() const { return temporary_path_; }

  // Gives the bound socket its mode, 0660, and its name, in place of a dead one.
  absl::Status Publish();
  // Removes the socket, so that no new client comes. The lock stays until destruction.
  void Unpublish();

 private:
  UnixListener(std::string path, UniqueFd lock);

  const std::string path_;
  const std::string temporary_path_;
  const UniqueFd lock_;
  bool published_ = false;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace berth

#endif  // BERTH_SERVER_CRI_UNIX_LISTENER_H_
