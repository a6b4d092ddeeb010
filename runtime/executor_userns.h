// Containers with a user namespace, and id-mapped mounts. Internal to executor*.cc.
//
//   the supervisor's child   in the host's user namespace: opens everything, id-mapped; attaches it in a mount
//                            namespace of its own; makes devices and the console; gives stdio to the user
//   the container's init     in the pod's: born (CLONE_PARENT) into a copy of that mount namespace, in which
//                            the kernel has locked every mount with its flags. So no root of a container,
//                            whatever capabilities it has there, makes a read-only volume writable, a device
//                            node of an image work, or sees what a mount covers
//
// Proc is mounted by the latter: it belongs to the user namespace of its PID namespace, which has to be made
// from inside (a PID namespace made before belongs to the host's: EPERM).
//
// Nobody traces such a process before execve, CAP_SYS_PTRACE in the pod or not: it is not dumpable, and its
// memory belongs to the host's user namespace (ptrace_may_access). So it needs no hop.
#ifndef BERTH_RUNTIME_EXECUTOR_USERNS_H_
#define BERTH_RUNTIME_EXECUTOR_USERNS_H_

#include "runtime/executor_context.h"

namespace berth {

// What an id of the container is on the host; without a user namespace the same. False with EINVAL if it is
// not mapped.
bool OutsideId(const ExecutorContext& c, Table<PlanIdMap> maps, uint32_t inside, uint32_t* outside);

// The files that the process makes from here on belong to the container's root. It keeps its privileges.
void MakeFilesAsMappedRoot(ExecutorContext& c);

// Sends the mount `fd`'s files through `userns` (mount_setattr, 5.12).
bool IdMapMount(int fd, int userns, bool recursive);

// The namespace that stands for plan.id_maps[index], as a descriptor: the pod's own, or one that is made for
// it and has no processes. In the host's mount namespace only. -1 with errno.
int MountIdMap(ExecutorContext& c, uint32_t index);

// Makes a user namespace without processes from the texts of uid_map and gid_map. -1 with errno.
int MakeUserNamespace(const char* uid_map, const char* gid_map);

// Enters the pod's user namespace as its root, with all its capabilities and no groups.
void BecomeUserNamespaceRoot(ExecutorContext& c);

// Returns in the container's init, at /rootfs of a mount namespace that belongs to the user namespace.
void EnterUserNamespace(ExecutorContext& c);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_USERNS_H_
