// Deletions, as layer tars spell them (OCI image-spec, layer.md, "Whiteouts") and as overlayfs does
// (kernel, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
#ifndef BERTH_SNAPSHOTTER_UNPACK_WHITEOUT_H_
#define BERTH_SNAPSHOTTER_UNPACK_WHITEOUT_H_

#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace berth {

inline constexpr char kWhiteoutPrefix[] = ".wh.";
// In a directory: nothing of the lower ones is in it.
inline constexpr char kOpaqueMarker[] = ".wh..wh..opq";
// Other names with this prefix are aufs's own bookkeeping, and mean nothing.
inline constexpr char kAufsPrefix[] = ".wh..wh.";

inline constexpr char kOpaqueXattr[] = "trusted.overlay.opaque";
// For tests without privileges, as overlayfs's mount option `userxattr`.
inline constexpr char kUserOpaqueXattr[] = "user.overlay.opaque";

inline bool IsWhiteout(const struct stat& info) {
  return S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0);
}

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_WHITEOUT_H_
