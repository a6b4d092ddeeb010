#include "runtime/mount_options.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/plan.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000  // Linux 5.14
#endif

namespace berth {
namespace {

struct Attribute {
  uint64_t set;
  uint64_t clear;
};

const absl::flat_hash_map<std::string, Attribute>& Attributes() {
  constexpr uint64_t kAtime = MOUNT_ATTR__ATIME;
  static const auto& table = *new absl::flat_hash_map<std::string, Attribute>{
      {"ro", {MOUNT_ATTR_RDONLY, 0}},
      {"rw", {0, MOUNT_ATTR_RDONLY}},
      {"nosuid", {MOUNT_ATTR_NOSUID, 0}},
      {"suid", {0, MOUNT_ATTR_NOSUID}},
      {"nodev", {MOUNT_ATTR_NODEV, 0}},
      {"dev", {0, MOUNT_ATTR_NODEV}},
      {"noexec", {MOUNT_ATTR_NOEXEC, 0}},
      {"exec", {0, MOUNT_ATTR_NOEXEC}},
      {"nosymfollow", {MOUNT_ATTR_NOSYMFOLLOW, 0}},
      {"symfollow", {0, MOUNT_ATTR_NOSYMFOLLOW}},
      {"noatime", {MOUNT_ATTR_NOATIME, kAtime}},
      {"relatime", {MOUNT_ATTR_RELATIME, kAtime}},
      {"strictatime", {MOUNT_ATTR_STRICTATIME, kAtime}},
      {"nodiratime", {MOUNT_ATTR_NODIRATIME, 0}},
      {"diratime", {0, MOUNT_ATTR_NODIRATIME}},
      // Undoing one of the three modes means the usual one.
      {"atime", {MOUNT_ATTR_RELATIME, kAtime}},
      {"norelatime", {MOUNT_ATTR_STRICTATIME, kAtime}},
      {"nostrictatime", {MOUNT_ATTR_RELATIME, kAtime}},
  };
  return table;
}

uint32_t Propagation(absl::string_view option) {
  if (option == "private" || option == "rprivate") return MS_PRIVATE;
  if (option == "slave" || option == "rslave") return MS_SLAVE;
  if (option == "shared" || option == "rshared") return MS_SHARED;
  return 0;
}

// "defaults" and flags of old file systems, without meaning here.
bool IsIgnored(absl::string_view option) {
  return option.empty() || option == "defaults" || option == "auto" || option == "noauto" ||
         option == "loud" || option == "silent";
}

void Apply(const Attribute& attribute, MountOptions* out) {
  out->attr_set = (out->attr_set & ~attribute.clear) | attribute.set;
  out->attr_clear = (out->attr_clear & ~attribute.set) | (attribute.clear & ~MOUNT_ATTR__ATIME);
}

}  // namespace

absl::StatusOr<MountOptions> ParseMountOptions(const std::vector<std::string>& options) {
  MountOptions out;
  for (const std::string& option : options) {
    if (option == "bind" || option == "rbind") {
      out.bind = true;
      if (option == "rbind") out.flags |= kMountRecursive;
      continue;
    }
    if (const uint32_t propagation = Propagation(option)) {
      out.propagation = propagation;
      continue;
    }
    if (option == "tmpcopyup") {
      out.flags |= kMountCopyUp;
      continue;
    }
    if (option == "idmap" || option == "ridmap") {
      out.idmap = true;
      if (option == "ridmap") out.flags |= kMountRecursiveIdMap;
      continue;
    }
    if (option == "unbindable" || option == "runbindable") {
      return absl::UnimplementedError(absl::StrCat("options: ", option, " is not supported"));
    }
    if (IsIgnored(option)) continue;
    const auto& table = Attributes();
    auto attribute = table.find(option);
    if (attribute == table.end() && option[0] == 'r') {
      // rro, rnosuid, …: of all mounts below, too.
      attribute = table.find(option.substr(1));
      if (attribute != table.end()) out.flags |= kMountRecursiveAttr;
    }
    if (attribute != table.end()) {
      Apply(attribute->second, &out);
      continue;
    }
    if (absl::StrContains(option, ",")) {
      return absl::InvalidArgumentError(absl::StrCat("options: \"", option, "\" has a comma"));
    }
    absl::StrAppend(&out.data, out.data.empty() ? "" : ",", option);
  }
  return out;
}

}  // namespace berth
