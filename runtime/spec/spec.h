// The OCI runtime-spec 1.2 as values: config.json of a bundle, and what the pod flows build.
//
// ParseSpec checks types, ranges and contradictions; a message starts with the field's path
// (`linux.resources.memory.limit: want an integer`). Unknown fields are ignored, as the specification
// demands. What is known and not supported is refused by the compiler, not here.
#ifndef BERTH_RUNTIME_SPEC_SPEC_H_
#define BERTH_RUNTIME_SPEC_SPEC_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"
#include "runtime/capabilities.h"
#include "runtime/cgroup_resources.h"
#include "runtime/seccomp/profile.h"

namespace berth {

struct SpecCapabilities {
  CapabilityMask bounding = 0;
  CapabilityMask effective = 0;
  CapabilityMask permitted = 0;
  CapabilityMask inheritable = 0;
  CapabilityMask ambient = 0;
};

struct SpecRlimit {
  int resource = 0;  // RLIMIT_*
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct SpecUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
};

struct SpecProcess {
  bool terminal = false;
  uint16_t console_height = 0;  // 0: not set
  uint16_t console_width = 0;
  SpecUser user;
  std::vector<std::string> args;
  std::vector<std::string> env;  // NAME=VALUE
  std::string cwd = "/";
  std::optional<SpecCapabilities> capabilities;  // unset: all that the runtime has
  std::vector<SpecRlimit> rlimits;
  bool no_new_privileges = false;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<int> oom_score_adj;
};

struct SpecIdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
};

struct SpecMount {
  std::string destination;
  std::string type;  // "" is a bind if the options say so
  std::string source;
  std::vector<std::string> options;
  std::vector<SpecIdMapping> uid_mappings;
  std::vector<SpecIdMapping> gid_mappings;
};

struct SpecDevice {
  char type = 'c';  // 'c', 'b', 'u', 'p'
  std::string path;
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint32_t> file_mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
};

enum class NamespaceKind { kPid, kNetwork, kMount, kIpc, kUts, kUser, kCgroup, kTime };

struct SpecNamespace {
  NamespaceKind kind = NamespaceKind::kMount;
  std::string path;  // "": a new one
};

struct SpecHook {
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::optional<int> timeout;  // seconds
};

struct SpecHooks {
  std::vector<SpecHook> prestart, create_runtime, create_container, start_container, poststart,
      poststop;
  bool empty() const {
    return prestart.empty() && create_runtime.empty() && create_container.empty() &&
           start_container.empty() && poststart.empty() && poststop.empty();
  }
};

struct SpecLinux {
  std::vector<SpecIdMapping> uid_mappings;
  std::vector<SpecIdMapping> gid_mappings;
  std::map<std::string, std::string> sysctl;
  CgroupResources resources;
  std::string cgroups_path;
  std::vector<SpecNamespace> namespaces;  // each kind at most once
  std::vector<SpecDevice> devices;
  std::shared_ptr<const SeccompProfile> seccomp;  // null: unconfined
  std::string rootfs_propagation;                 // "", shared, slave, private, unbindable
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::string mount_label;
  bool has_intel_rdt = false;
  bool has_personality = false;
  bool has_time_offsets = false;
};

struct Spec {
  std::string oci_version = "1.2.0";
  std::optional<SpecProcess> process;
  std::string root_path;
  bool root_readonly = false;
  std::string hostname;
  std::string domainname;
  std::vector<SpecMount> mounts;
  SpecHooks hooks;
  std::map<std::string, std::string> annotations;
  SpecLinux linux_;  // `linux` is a macro of GNU C++

  // The namespace of this kind, or null if the container shares the runtime's.
  const SpecNamespace* Namespace(NamespaceKind kind) const;
};

absl::StatusOr<Spec> ParseSpec(absl::string_view text);
absl::StatusOr<Spec> SpecFromJson(const nlohmann::json& value);
// A `process` object alone, as `exec --process FILE` has it.
absl::StatusOr<SpecProcess> SpecProcessFromJson(const nlohmann::json& value,
                                                absl::string_view field);

// config.json for external runtimes and for people; ParseSpec(SpecToJson(s).dump()) is `s`.
nlohmann::json SpecToJson(const Spec& spec);

// "pid", "network", "mount", … as the specification spells them.
absl::string_view NamespaceName(NamespaceKind kind);

}  // namespace berth

#endif  // BERTH_RUNTIME_SPEC_SPEC_H_
