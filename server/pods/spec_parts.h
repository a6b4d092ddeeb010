// The parts of BuildSpec, one file for each subject; nobody else includes this.
//
// Each part reads the request and adds its own to the specification. They run in the order in which
// they stand here: a later one may read what an earlier one has added.
#ifndef BERTH_SERVER_PODS_SPEC_PARTS_H_
#define BERTH_SERVER_PODS_SPEC_PARTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/pods/spec_builder.h"

namespace berth {

// What a specification is built from; all of it outlives the building.
struct SpecRequest {
  const runtime::v1::ContainerConfig& container;
  const runtime::v1::PodSandboxConfig& pod;
  const ImageConfig& image;
  const PodFacts& pod_facts;
  const ContainerFacts& facts;
  const HostFacts& host;

  const runtime::v1::LinuxContainerSecurityContext& context() const {
    return container.linux().security_context();
  }
  const runtime::v1::LinuxSandboxSecurityContext& pod_context() const {
    return pod.linux().security_context();
  }
  bool privileged() const { return context().privileged(); }
};

// spec_process.cc
absl::Status AddCommand(const SpecRequest& request, BuiltSpec* built);
absl::Status AddEnvironment(const SpecRequest& request, BuiltSpec* built);
// spec_identity.cc
absl::Status AddUser(const SpecRequest& request, BuiltSpec* built);
absl::Status AddCapabilities(const SpecRequest& request, BuiltSpec* built);
// spec_namespaces.cc
absl::Status AddNamespaces(const SpecRequest& request, BuiltSpec* built);
// spec_mounts.cc
absl::Status AddMounts(const SpecRequest& request, BuiltSpec* built);
// spec_resources.cc
absl::Status AddResources(const SpecRequest& request, BuiltSpec* built);
// spec_devices.cc
absl::Status AddDevices(const SpecRequest& request, BuiltSpec* built);
// spec_cdi.cc: after devices, mounts and environment, which it may replace.
absl::Status AddCdiDevices(const SpecRequest& request, BuiltSpec* built);
// spec_confinement.cc: masked and read-only paths, seccomp, AppArmor.
absl::Status AddConfinement(const SpecRequest& request, BuiltSpec* built);

// What the parts share.
inline constexpr char kContextField[] = "linux.security_context";
absl::Status InvalidField(absl::string_view field, absl::string_view why);
absl::Status UnsupportedField(absl::string_view field, absl::string_view why);
bool IsAbsolutePath(absl::string_view path);
// "/a//b/." → "/a/b"; false if ".." is among its elements.
bool CleanPath(absl::string_view path, std::string* clean);

}  // namespace berth

#endif  // BERTH_SERVER_PODS_SPEC_PARTS_H_
