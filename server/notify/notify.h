// Tells the service manager how the daemon is doing: the protocol of sd_notify(3), spoken directly.
//
// One datagram to the socket that NOTIFY_SOCKET names. libsystemd would do the same, but costs a
// process that doesn't use it otherwise its relocations and its dependencies (lzma, zstd, lz4,
// libgcrypt); the protocol is promised to be stable (sd_notify(3), "Notes").
#ifndef BERTH_SERVER_NOTIFY_NOTIFY_H_
#define BERTH_SERVER_NOTIFY_NOTIFY_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace berth {

// Each is OK and does nothing without NOTIFY_SOCKET. An error is for the log: nothing depends on
// it.
absl::Status NotifyReady();
absl::Status NotifyStopping();
// With MONOTONIC_USEC, as Type=notify-reload wants (systemd 253); READY follows when it is done.
absl::Status NotifyReloading();
// One line for `systemctl status`; control characters are refused with InvalidArgument.
absl::Status NotifyStatus(absl::string_view text);

}  // namespace berth

#endif  // BERTH_SERVER_NOTIFY_NOTIFY_H_
