// The daemon's side of berth-unpack: starts it, feeds it, ends it.
#ifndef BERTH_SNAPSHOTTER_UNPACKER_CLIENT_H_
#define BERTH_SNAPSHOTTER_UNPACKER_CLIENT_H_

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "snapshotter/unpack/protocol.h"

namespace berth {

class UnpackerClient {
 public:
  // Starts `program` in its own mount, network, PID, IPC and UTS namespaces, with nothing of this
  // process but the two borrowed descriptors. Safe in a process with threads: nothing is copied but
  // the descriptor table, and the child makes system calls only.
  static absl::StatusOr<std::unique_ptr<UnpackerClient>> Start(const std::string& program,
                                                               int target, int digests,
                                                               const UnpackRequest& request);
  // Kills the process if it still runs, and waits until it is gone.
  ~UnpackerClient();
  UnpackerClient(const UnpackerClient&) = delete;
  UnpackerClient& operator=(const UnpackerClient&) = delete;

  // Waits while the unpacker is busy. If it has ended, the reason is returned, as by Finish().
  absl::Status Write(absl::string_view bytes);
  // Ends the stream and waits for the result. When it is OK the layer's data is synced.
  absl::StatusOr<UnpackResult> Finish();
  // Any thread: the unpacker dies, and a call that waits returns Cancelled soon.
  void Kill();

 private:
  UnpackerClient(UniqueFd process, UniqueFd control, UniqueFd input)
      : process_(std::move(process)), control_(std::move(control)), input_(std::move(input)) {}

  absl::Status HowItDied();

  const UniqueFd process_;  // a pidfd
  const UniqueFd control_;
  UniqueFd input_;
  std::atomic<bool> killed_{false};
  bool reaped_ = false;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACKER_CLIENT_H_
