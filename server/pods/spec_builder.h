// From what kubelet and the image say to the OCI spec of a container.
//
// Pure: all that has to be looked up on the host (devices, profiles' files, mount sources) is in
// SpecFacts. InvalidArgument names the CRI field (`linux.security_context.run_as_group: …`),
// Unimplemented what this runtime does not serve.
#ifndef BERTH_SERVER_PODS_SPEC_BUILDER_H_
#define BERTH_SERVER_PODS_SPEC_BUILDER_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/cri/v1/api.pb.h"
#include "runtime/compiler.h"
#include "runtime/spec/spec.h"
#include "server/cdi/cdi_spec.h"
#include "server/images/image.h"

namespace berth {

// What a pod gives to its containers.
struct PodFacts {
  std::string id;
  std::string hostname;    // of the pod, or of the node with its network
  std::string hosts_path;  // host files; "": none is mounted
  std::string hostname_path;
  std::string resolv_conf_path;
  std::string netns_path;  // for readers of the spec; "" with the node's network
  int keeper_pid = 0;      // whose /proc/PID/ns the spec shows; 0: none are shown
  int pod_init_pid = 0;    // shared PID namespace
};

struct ContainerFacts {
  std::string id;
  std::string cgroup_path;          // CgroupHost::PathFor(parent, …)
  std::string rootfs;               // shown as root.path; "" is fine for an overlay
  std::string image_name;           // as the user wrote it, for annotations
  std::string pid_target;           // the container whose PID namespace this one joins (TARGET)
  int pid_target_pid = 0;           // for readers of the spec
  std::vector<CdiEdits> cdi_edits;  // of CdiDevicesOf(config), in order
};

// The host's part, replaceable in tests.
struct HostFacts {
  // The device nodes at or below a host path (not following into directories that hold none);
  // NotFound if nothing is there.
  std::function<absl::StatusOr<std::vector<SpecDevice>>(const std::string& path)> devices;
  // Every device of the host, for privileged containers.
  std::function<absl::StatusOr<std::vector<SpecDevice>>()> all_devices;
  // A Localhost seccomp profile's text.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read_profile;
  // A mount's source with links resolved; NotFound if it is missing. Missing directories are made by
  // the flow before, as other runtimes do.
  std::function<absl::StatusOr<std::string>(const std::string& path)> resolve_source;
  bool apparmor = false;          // the kernel enforces profiles
  bool apparmor_default = false;  // ours is loaded
  // OK if a profile of this name is loaded, else NotFound.
  std::function<absl::Status(const std::string& name)> apparmor_profile;
  // How the mount that a (resolved) path lies on takes part in propagation. Unset: as both.
  struct Propagation {
    bool gives = false;  // a shared mount
    bool takes = false;  // a shared mount, or a slave of one
  };
  std::function<absl::StatusOr<Propagation>(const std::string& path)> propagation;
  // The same for a path that nobody makes.
  std::function<absl::StatusOr<std::string>(const std::string& path)> existing_source;
  bool selinux = false;
  CapabilityMask capability_limit = kAllCapabilities;
};
// The real ones.
const HostFacts& ThisHost();

struct BuiltSpec {
  Spec spec;  // with a process
  SpecProcess& process() { return *spec.process; }
  UserReference user;
  PidMode joined_pid = PidMode::kPod;
  std::string pid_target;  // TARGET: the container's ID
  bool stdin_open = false;
  bool stdin_once = false;
};

absl::StatusOr<BuiltSpec> BuildSpec(const runtime::v1::ContainerConfig& container,
                                    const runtime::v1::PodSandboxConfig& pod,
                                    const ImageConfig& image, const PodFacts& pod_facts,
                                    const ContainerFacts& container_facts, const HostFacts& host);

// The CDI devices that a container asks for, by field and by annotations `cdi.k8s.io/…`, each once.
std::vector<std::string> CdiDevicesOf(const runtime::v1::ContainerConfig& config);

// Where a mount with this container_path goes, as the specification has it. InvalidArgument if it is no
// absolute path below /.
absl::StatusOr<std::string> MountTarget(const std::string& container_path);

// The process of an exec in a container: its own with another command line.
SpecProcess BuildExecProcess(const Spec& spec, const std::vector<std::string>& command, bool tty);

// CRI's resources as limits (also for UpdateContainerResources). InvalidArgument names the field.
absl::StatusOr<CgroupResources> ResourcesFromCri(const runtime::v1::LinuxContainerResources& cri,
                                                 absl::string_view field);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_SPEC_BUILDER_H_
