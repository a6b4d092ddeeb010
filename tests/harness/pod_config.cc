#include "tests/harness/pod_config.h"

#include <stdlib.h>

namespace berth::testing {

cri::PodSandboxConfig Pod(const std::string& name) {
  cri::PodSandboxConfig config;
  config.mutable_metadata()->set_name(name);
  config.mutable_metadata()->set_uid("uid-" + name);
  config.mutable_metadata()->set_namespace_("default");
  config.set_hostname(name);
  const char* cgroup = getenv("BERTH_TEST_CGROUP");  // see private_machine.h
  const char* driver = getenv("BERTH_TEST_CGROUP_DRIVER");
  config.mutable_linux()->set_cgroup_parent(
      driver != nullptr && std::string(driver) == "systemd"
          ? "berthtest-pods.slice"
          : std::string(cgroup != nullptr ? cgroup : "/berth-test") + "/pods");
  auto* security = config.mutable_linux()->mutable_security_context();
  security->mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  auto* namespaces = security->mutable_namespace_options();
  namespaces->set_network(cri::POD);
  namespaces->set_pid(cri::CONTAINER);
  namespaces->set_ipc(cri::POD);
  return config;
}

cri::PodSandboxConfig HostNetworkPod(const std::string& name) {
  cri::PodSandboxConfig config = Pod(name);
  config.clear_hostname();  // kubelet sends none then
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_network(
      cri::NODE);
  return config;
}

cri::ContainerConfig Container(const std::string& name, const std::string& image,
                               const std::vector<std::string>& command) {
  cri::ContainerConfig config;
  config.mutable_metadata()->set_name(name);
  config.mutable_image()->set_image(image);
  config.mutable_command()->Add(command.begin(), command.end());
  config.set_log_path(name + "_0.log");
  auto* security = config.mutable_linux()->mutable_security_context();
  security->mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  security->mutable_namespace_options()->set_pid(cri::CONTAINER);
  for (const char* path : {"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys",
                           "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                           "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}) {
    security->add_masked_paths(path);
  }
  for (const char* path :
       {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) {
    security->add_readonly_paths(path);
  }
  return config;
}

void SetLimits(cri::ContainerConfig* config) {
  auto* resources = config->mutable_linux()->mutable_resources();
  resources->set_memory_limit_in_bytes(128 << 20);
  resources->set_cpu_period(100000);
  resources->set_cpu_quota(50000);
  resources->set_cpu_shares(512);
}

void MatchNamespaces(const cri::PodSandboxConfig& pod, cri::ContainerConfig* container) {
  *container->mutable_linux()->mutable_security_context()->mutable_namespace_options() =
      pod.linux().security_context().namespace_options();
}

}  // namespace berth::testing
