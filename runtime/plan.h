// Plan: everything that is needed to start a container or an exec, in one flat buffer.
//
// The compiler makes it (rich C++, in the daemon), it travels as a sealed memfd, and the executor carries
// it out between clone and execve with nothing but system calls. It is position independent: every
// reference is an offset from the buffer's start. Offset 0 is the header itself, so a Str of 0 means
// "absent". Strings are NUL-terminated, tables are aligned to 8.
//
// Whoever receives a Plan calls ValidatePlan first; after that every offset, count and string in it is
// good, and the accessors below need no checks. Keepers re-exec the daemon's own version of the binary,
// so a Plan needs no compatibility across versions: another `version` is refused.
//
// This header includes libc only: it is compiled into the freestanding keeper.
#ifndef BERTH_RUNTIME_PLAN_H_
#define BERTH_RUNTIME_PLAN_H_

#include <stddef.h>
#include <stdint.h>

namespace berth {

inline constexpr uint32_t kPlanMagic = 0x4e4c5042;  // "BPLN"
inline constexpr uint32_t kPlanVersion = 3;
inline constexpr uint32_t kMaxPlanSize = 4u << 20;
// Bounds that the executor's fixed buffers rely on; ValidatePlan enforces them.
inline constexpr uint32_t kMaxPlanMounts = 1024;
inline constexpr uint32_t kMaxPlanLowers = 500;  // overlayfs: OVL_MAX_STACK
inline constexpr uint32_t kMaxPlanLayers =
    1024;  // lowers of the root file system and of all kLayers mounts
inline constexpr uint32_t kMaxPlanIdMaps = 340;  // UID_GID_MAP_MAX_EXTENTS (4.15)
inline constexpr uint32_t kMaxPlanGroups = 1024;
inline constexpr uint32_t kMaxPlanStrings = 65536;  // argv and envp, each
inline constexpr uint32_t kMaxPlanFilter = 4096;    // BPF_MAXINSNS

// The offset of a NUL-terminated string; 0 is absent.
using Str = uint32_t;

// The offset and length of a table of T.
template <typename T>
struct Table {
  uint32_t offset;
  uint32_t count;
};

// Plan::flags.
enum PlanFlag : uint32_t {
  kPlanExec = 1u << 0,       // joins a running container: no rootfs, mounts, devices
  kPlanTerminal = 1u << 1,   // stdio is a terminal of the container's own devpts
  kPlanStdin = 1u << 2,      // a container's stdin is held open by the keeper
  kPlanStdinOnce = 1u << 3,  // ... until its first client has left
  kPlanNoNewPrivs = 1u << 4,
  kPlanReadonlyRootfs = 1u << 5,
  kPlanCgroupNamespace = 1u << 6,  // made after the cgroups were joined
  // Close every other descriptor before the PID namespace is entered: for containers with SYS_PTRACE,
  // privileged ones, and shared PID namespaces, whose processes could otherwise open them.
  kPlanHop = 1u << 7,
  kPlanStrictGroups = 1u << 8,  // SupplementalGroupsPolicy Strict: /etc/group adds none
  kPlanNewNet = 1u << 9,        // for a runtime without a pod: clone's own namespaces
  kPlanNewIpc = 1u << 10,
  kPlanNewUts = 1u << 11,
  // An external OCI runtime makes the container or the exec: runtime/executor_external.h says what else
  // means another thing then.
  kPlanExternal = 1u << 12,
};

enum class PidMode : uint32_t {
  kOwn = 0,     // a namespace of the container's own; its process is PID 1 there
  kPod = 1,     // the pod's shared namespace (the keeper's pod init is PID 1)
  kNode = 2,    // the host's
  kTarget = 3,  // that of another container of the pod (Plan::pid_target)
};

enum CgroupFlag : uint32_t {
  kCgroupV2 = 1u << 0,       // a cgroup2 directory: joined at birth where possible; has cgroup.kill
  kCgroupFreezer = 1u << 1,  // v1 freezer: used to kill a tree without a race
  // Where an exec's own sub-cgroup is made, to find its descendants. At most one entry: the v2 one, or
  // in v1 the freezer's (or pids').
  kCgroupExecParent = 1u << 2,
  kCgroupMemory =
      1u << 3,  // where OOM kills are counted: memory.events (v2), memory.oom_control (v1)
};

// A directory of a cgroup that exists already; the process joins it through cgroup.procs.
struct PlanCgroup {
  Str path;  // absolute, on the host
  uint32_t flags;
};

enum class RootfsKind : uint32_t {
  kNone = 0,     // kPlanExec only
  kOverlay = 1,  // lowers topmost first, upper and work (both absent: a read-only overlay)
  kBind = 2,     // a directory or mount point on the host: lowers[0]
};

struct PlanRootfs {
  RootfsKind kind;
  uint32_t
      propagation;  // MS_PRIVATE, MS_SLAVE or MS_SHARED: of the container's mount tree; 0 is private
  Str upper;
  Str work;
  Table<Str> lowers;  // absolute host paths
  Str options;        // more overlay options, `key=value,key`: as "volatile"
  uint32_t reserved;
};

enum class MountKind : uint32_t {
  kBind = 0,  // source: absolute host path (file or directory)
  kProc = 1,
  kSysfs = 2,
  kTmpfs = 3,
  kDevpts = 4,  // the container's terminal comes from the one at /dev/pts
  kMqueue = 5,
  kCgroup1 = 6,  // options name the controllers, as "cpu,cpuacct" or "none,name=systemd"
  kCgroup2 = 7,
  kPodShm = 8,  // the pod's /dev/shm, that its keeper holds
  kOther = 9,   // source: "TYPE" for fsopen, as "hugetlbfs"; options as usual, `source=` among them
  kLayers = 10,  // a read-only overlay of `lowers`, or what is at `sub_path` in it
  // The target itself, as it is in the root file system: writable where that is sealed.
  kVolume = 11,
};

enum MountFlag : uint32_t {
  kMountRecursive = 1u << 0,       // rbind
  kMountRecursiveAttr = 1u << 1,   // attr_set and attr_clear go to all mounts below, too (rro)
  kMountCopyUp = 1u << 2,          // kTmpfs: tmpcopyup (the executor refuses it for now: ENOTSUP)
  kMountOptional = 1u << 3,        // kBind: leave it out if the source does not exist
  kMountTargetIsFile = 1u << 4,    // kind kOther only; for kBind the source decides
  kMountRecursiveIdMap = 1u << 5,  // kBind: the mounts below it are id-mapped, too
};

// One mount, made in the table's order. A missing target is made, as a directory, or as a file if the
// source is none; it is resolved beneath the root file system, whatever links the image has.
struct PlanMount {
  MountKind kind;
  uint32_t flags;
  Str source;
  Str target;            // absolute path in the container
  Str options;           // the file system's: `mode=755,size=65536k`
  uint32_t propagation;  // MS_SHARED (Bidirectional), MS_SLAVE (HostToContainer), MS_PRIVATE;
                         // 0 is private. Set recursively before the mount is attached
  uint64_t attr_set;     // MOUNT_ATTR_RDONLY, _NOSUID, _NODEV, _NOEXEC, _NOATIME ...
  uint64_t
      attr_clear;  // (MOUNT_ATTR__ATIME is added by the executor when attr_set has an atime bit)
  // kBind: 1 + which of Plan::id_maps its files are seen through; 0: as they are. Not what is mounted below
  // it, unless kMountRecursiveIdMap.
  uint32_t id_map;
  Str sub_path;  // kLayers: resolved beneath the image's root, without a leading slash; must exist
  Table<Str> lowers;  // kLayers: topmost first, at least two; absolute host paths
};

// A node made with mknod in /dev (or wherever `path` says) after the mounts.
struct PlanDevice {
  Str path;       // absolute path in the container
  uint32_t mode;  // S_IFCHR, S_IFBLK or S_IFIFO | permissions; not subject to the umask
  uint32_t major;
  uint32_t minor;
  uint32_t uid;
  uint32_t gid;
};

struct PlanSymlink {
  Str target;  // what it points to
  Str path;    // absolute path in the container; an existing entry is left alone
};

struct PlanSysctl {
  Str path;  // below /proc/sys, with slashes: "net/ipv4/ip_forward"
  Str value;
};

struct PlanRlimit {
  uint32_t resource;  // RLIMIT_*
  uint32_t reserved;
  uint64_t soft;  // RLIM_INFINITY is ~0
  uint64_t hard;  // without CAP_SYS_RESOURCE, clamped to the present hard limit
};

// Bit N is capability N. The executor intersects all with its own bounding set, and effective, permitted
// and ambient as the kernel demands.
struct PlanCapabilities {
  uint64_t bounding;
  uint64_t effective;
  uint64_t permitted;
  uint64_t inheritable;
  uint64_t ambient;
};

// Laid out as struct sock_filter (linux/filter.h).
struct PlanFilterInstruction {
  uint16_t code;
  uint8_t jt;
  uint8_t jf;
  uint32_t k;
};

enum UserFlag : uint32_t {
  kUserHasUid = 1u << 0,  // `uid` counts; else `user` is looked up (name first, then a number)
  kUserHasGid =
      1u << 1,  // `gid` counts; else `group` is looked up, else the user's gid in /etc/passwd,
                // else 0
};

struct PlanUser {
  uint32_t flags;
  uint32_t uid;
  uint32_t gid;
  Str user;        // looked up in the mounted rootfs' /etc/passwd
  Str group;       // ... /etc/group
  uint32_t umask;  // 022 as a rule
  Table<uint32_t>
      groups;  // supplemental groups, added to those of /etc/group unless kPlanStrictGroups
};

struct PlanIdMap {
  uint32_t inside;
  uint32_t outside;
  uint32_t count;
};

// Of a mount: what is `inside` on the disk is seen as `outside` of the host (mount_setattr(2), "ID mappings").
struct PlanMountIdMap {
  Table<PlanIdMap> uids;
  Table<PlanIdMap> gids;
};

inline constexpr int32_t kOomScoreUnset = 0x7fffffff;

struct Plan {
  uint32_t magic;
  uint32_t version;
  uint32_t size;   // of the whole buffer, a multiple of 8
  uint32_t flags;  // PlanFlag

  PidMode pid_mode;
  Str pid_target;  // kTarget: container ID
  Table<PlanCgroup> cgroups;

  PlanRootfs rootfs;
  Table<PlanMount> mounts;
  Table<PlanDevice> devices;
  Table<PlanSymlink> symlinks;
  Table<Str> masked_paths;
  Table<Str> readonly_paths;
  Table<PlanSysctl> sysctls;
  Table<PlanRlimit> rlimits;

  PlanCapabilities capabilities;

  Table<PlanFilterInstruction> seccomp;  // empty: unconfined
  uint32_t seccomp_flags;                // SECCOMP_FILTER_FLAG_*
  int32_t oom_score_adj;                 // kOomScoreUnset leaves it; clamped if lowering is refused

  PlanUser user;
  Str cwd;       // absolute; made if missing (not in an exec)
  Str hostname;  // for kPlanNewUts; a pod's is set by its keeper
  Str domainname;
  uint32_t console_rows;
  uint32_t console_columns;
  Str apparmor;     // the profile that execve changes to; absent: none
  Table<Str> argv;  // at least one
  Table<Str> envp;  // `NAME=value`; HOME is added from /etc/passwd if it is not there

  // The pod's user namespace, which its keeper made and the process enters; both empty: the host's. 0 is
  // mapped. The root file system is seen through it, too: an overlay's lowers are id-mapped, its upper has
  // the host's ids.
  Table<PlanIdMap> uid_maps;
  Table<PlanIdMap> gid_maps;
  Table<PlanMountIdMap> id_maps;  // for PlanMount::id_map
};

static_assert(sizeof(PlanCgroup) == 8 && sizeof(PlanRootfs) == 32 && sizeof(PlanMount) == 56);
static_assert(sizeof(PlanDevice) == 24 && sizeof(PlanSymlink) == 8 && sizeof(PlanSysctl) == 8);
static_assert(sizeof(PlanRlimit) == 24 && sizeof(PlanCapabilities) == 40);
static_assert(sizeof(PlanFilterInstruction) == 8 && sizeof(PlanUser) == 32 &&
              sizeof(PlanIdMap) == 12 && sizeof(PlanMountIdMap) == 16);
static_assert(offsetof(Plan, capabilities) % 8 == 0 && sizeof(Plan) == 272);
static_assert(__is_trivially_copyable(Plan) && __is_standard_layout(Plan));

// OK, or the name of the field that is wrong (a static string). Survives any bytes; `data` must be
// aligned to 8 (a mapping is). Checked: magic, version, size, each table's bounds and alignment, each
// string's termination, enum values, the bounds above, absolute paths where they are demanded, argv.
const char* ValidatePlan(const void* data, size_t size);  // nullptr: valid

// Accessors for a validated plan.
inline const char* PlanString(const Plan& plan, Str offset) {
  return offset == 0 ? nullptr : reinterpret_cast<const char*>(&plan) + offset;
}
inline bool PlanHasUserNamespace(const Plan& plan) { return plan.uid_maps.count != 0; }
template <typename T>
const T* PlanTable(const Plan& plan, Table<T> table) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(&plan) + table.offset);
}

}  // namespace berth

#endif  // BERTH_RUNTIME_PLAN_H_
