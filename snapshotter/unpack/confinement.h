// Takes from this process all that unpacking doesn't need, before it reads a stranger's byte.
//
// The process was born in its own mount, network, PID, IPC and UTS namespaces, as process 1 of its PID
// namespace. A user namespace would be no help: it forbids trusted.* attributes and device nodes.
#ifndef BERTH_SNAPSHOTTER_UNPACK_CONFINEMENT_H_
#define BERTH_SNAPSHOTTER_UNPACK_CONFINEMENT_H_

#include "absl/status/status.h"

namespace berth {

// Memory for one zstd window of 128 MiB and no more, 64 files, no core dump.
absl::Status LimitResources();

// Makes `target`, a detached mount (open_tree(2) with OPEN_TREE_CLONE), the root and the working
// directory of this process, without any other mount in sight.
absl::Status EnterRoot(int target);

// Keeps the seven capabilities of an unpacker, forbids regaining others.
absl::Status DropCapabilities();

// Allows the system calls of an unpacker; another kills the process. For all threads.
absl::Status FilterSystemCalls();

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_CONFINEMENT_H_
