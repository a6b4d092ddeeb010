// RunPodSandbox.
#include <fcntl.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "server/network/pod_files.h"
#include "server/network/sysctls.h"
#include "server/pods/attachment.h"
#include "server/pods/fingerprint.h"
#include "server/pods/handlers.h"
#include "server/pods/sandboxes.h"
#include "server/pods/spec_builder.h"
#include "server/pods/statuses.h"
#include "server/pods/user_namespace.h"

namespace berth {
namespace {

constexpr absl::Duration kKeeperDeadline = absl::Seconds(30);
// Beyond kubelet's own two minutes: a joined retry may still want the outcome.
constexpr absl::Duration kNetworkDeadline = absl::Minutes(4);

const cri::NamespaceOption& NamespacesOf(const cri::PodSandboxConfig& config) {
  return config.linux().security_context().namespace_options();
}

absl::Status ValidateNamespaces(const cri::NamespaceOption& namespaces) {
  const char* const field = "config.linux.security_context.namespace_options";
  for (const auto& [name, mode] :
       {std::make_pair("network", namespaces.network()), std::make_pair("ipc", namespaces.ipc())}) {
    if (mode != cri::POD && mode != cri::NODE) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".", name, ": a pod's is POD or NODE"));
    }
  }
  if (namespaces.pid() == cri::TARGET) {
    return absl::InvalidArgumentError(absl::StrCat(field, ".pid: TARGET is for containers only"));
  }
  return absl::OkStatus();
}

absl::Status ValidateUserNamespace(const cri::NamespaceOption& namespaces, const Handler& handler,
                                   const HostFeatures& features) {
  const char* const field = "config.linux.security_context.namespace_options";
  ASSIGN_OR_RETURN(const PodIdMaps maps, PodIdMapsOf(namespaces, field));
  if (maps.empty()) return absl::OkStatus();
  if (handler.external()) {
    return absl::InvalidArgumentError(absl::StrCat(field, ".userns_options: runtime handler `",
                                                   handler.name, "` has no user namespaces"));
  }
  return Annotate(features.user_namespaces, absl::StrCat(field, ".userns_options"));
}

std::vector<PlanIdMap> PlanMaps(const std::vector<SpecIdMapping>& mappings) {
  std::vector<PlanIdMap> maps;
  maps.reserve(mappings.size());
  for (const SpecIdMapping& m : mappings) maps.push_back({m.container_id, m.host_id, m.size});
  return maps;
}

absl::Status ValidateNames(const cri::PodSandboxConfig& config) {
  constexpr size_t kLongestHostname = 64;  // the kernel's __NEW_UTS_LEN
  if (config.hostname().size() > kLongestHostname) {
    return absl::InvalidArgumentError("config.hostname is longer than 64 bytes");
  }
  if (!config.log_directory().empty() && config.log_directory().front() != '/') {
    return absl::InvalidArgumentError("config.log_directory is not an absolute path");
  }
  return absl::OkStatus();
}

absl::Status ValidatePorts(const cri::PodSandboxConfig& config) {
  constexpr int kHighestPort = 65535;
  for (const cri::PortMapping& mapping : config.port_mappings()) {
    for (const auto& [name, port] : {std::make_pair("container_port", mapping.container_port()),
                                     std::make_pair("host_port", mapping.host_port())}) {
      if (port >= 0 && port <= kHighestPort) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("config.port_mappings.", name, ": ", port, " is no port"));
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const cri::RunPodSandboxRequest& request) {
  const cri::PodSandboxMetadata& metadata = request.config().metadata();
  if (metadata.name().empty()) return absl::InvalidArgumentError("config.metadata.name is empty");
  if (ThisHost().selinux &&
      !request.config().linux().security_context().selinux_options().SerializeAsString().empty()) {
    return absl::UnimplementedError(
        "config.linux.security_context.selinux_options: SELinux is not supported");
  }
  RETURN_IF_ERROR(ValidateNames(request.config()));
  RETURN_IF_ERROR(ValidatePorts(request.config()));
  return ValidateNamespaces(NamespacesOf(request.config()));
}

absl::StatusOr<KeeperOptions> KeeperOptionsFor(const store::v1::PodRecord& record,
                                               const Config& config,
                                               const std::string& state_directory) {
  const cri::NamespaceOption& namespaces = record.namespaces();
  KeeperOptions options;
  options.pod = PodId(record.id());
  options.state_directory = state_directory;
  options.new_net = namespaces.network() == cri::POD;
  options.new_uts = options.new_net;
  options.new_ipc = namespaces.ipc() == cri::POD;
  options.shared_pid = namespaces.pid() == cri::POD;
  options.hostname = record.config().hostname();
  ASSIGN_OR_RETURN(const PodIdMaps maps, PodIdMapsOf(namespaces, "namespaces"));
  options.uid_maps = PlanMaps(maps.uids);
  options.gid_maps = PlanMaps(maps.gids);
  options.shm_size = static_cast<uint64_t>(config.runtime.shm_size);
  const auto& requested = record.config().linux().sysctls();
  ASSIGN_OR_RETURN(const auto sysctls, PodSysctls({requested.begin(), requested.end()},
                                                  {.host_network = !options.new_net,
                                                   .host_ipc = !options.new_ipc,
                                                   .user_namespace = !maps.empty()}));
  options.sysctls.assign(sysctls.begin(), sysctls.end());
  return options;
}

std::string Title(const cri::PodSandboxMetadata& metadata) {
  return absl::StrCat("pod ", metadata.namespace_(), "/", metadata.name(), "/", metadata.uid(), "/",
                      metadata.attempt());
}

}  // namespace

absl::StatusOr<PodId> Sandboxes::Run(const CallContext& context,
                                     const cri::RunPodSandboxRequest& request) {
  RETURN_IF_ERROR(Validate(request));
  ASSIGN_OR_RETURN(const Handler* handler, node_.handlers->Find(request.runtime_handler()));
  RETURN_IF_ERROR(ValidateUserNamespace(NamespacesOf(request.config()), *handler, node_.features));
  ASSIGN_OR_RETURN(std::string id,
                   claims_.Run(Title(request.config().metadata()), Fingerprint(request), context,
                               [&](const Creation& creation) { return Make(creation, request); }));
  return PodId(std::move(id));
}

absl::StatusOr<PodRecordPtr> Sandboxes::Existing(const cri::RunPodSandboxRequest& request) const {
  const std::string title = Title(request.config().metadata());
  for (PodRecordPtr& record : node_.store->Pods()) {
    // What is not shown is what a crash or a failure left: a claim is held, so nobody is making it.
    if (!Shown(*record)) continue;
    if (Title(record->config().metadata()) != title) continue;
    if (record->state() == store::v1::POD_STATE_READY &&
        record->runtime_handler() == request.runtime_handler() &&
        Fingerprint(record->config()) == Fingerprint(request.config())) {
      return std::move(record);
    }
    return absl::AlreadyExistsError(absl::StrCat(title, " exists already: ", record->id(), " (",
                                                 PodStateName(record->state()), ")"));
  }
  return nullptr;
}

absl::StatusOr<std::string> Sandboxes::Make(const Creation& creation,
                                            const cri::RunPodSandboxRequest& request) {
  ASSIGN_OR_RETURN(const PodRecordPtr existing, Existing(request));
  if (existing != nullptr) return existing->id();

  store::v1::PodRecord record;
  const PodId id = NewPodId();
  record.set_id(id.str());
  record.set_instance_id(node_.instance.str());
  record.set_boot_id(node_.boot_id);
  *record.mutable_config() = request.config();
  record.set_runtime_handler(request.runtime_handler());
  *record.mutable_namespaces() = NamespacesOf(request.config());
  *record.mutable_overhead() = request.config().linux().overhead();
  *record.mutable_resources() = request.config().linux().resources();
  record.set_cgroup_parent(request.config().linux().cgroup_parent().empty()
                               ? node_.DefaultCgroupParent()
                               : request.config().linux().cgroup_parent());
  RETURN_IF_ERROR_WITH(node_.cgroups->PathFor(record.cgroup_parent(), record.id()).status(),
                       "config.linux.cgroup_parent");

  PhaseTimer keeper_phase(node_.metrics, PodPhase::kKeeper);
  const std::string directory = node_.PodDirectory(id.str());
  ASSIGN_OR_RETURN(KeeperOptions options, KeeperOptionsFor(record, *node_.config, directory));
  RETURN_IF_ERROR(Failpoint("pods.run.directory"));
  RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  absl::Cleanup remove_directory = [this, &record, &directory] {
    containers_->leftovers().RemoveOrRetry(
        directory, [this, pod = record.id(), directory]() -> absl::Status {
          // The pod's own; the note of it is in the directory.
          RETURN_IF_ERROR(
              containers_->RemoveNotedCgroups(pod, {}, absl::Now() + absl::Seconds(10)));
          return RemoveTree(directory);
        });
  };
  ASSIGN_OR_RETURN(const PodIdMaps maps, PodIdMapsOf(record.namespaces(), "namespaces"));
  RETURN_IF_ERROR(WritePodFiles(directory, {.dns = DnsOf(request.config()),
                                            .hostname = request.config().hostname(),
                                            .uid = maps.root_uid(),
                                            .gid = maps.root_gid()})
                      .status());
  std::unique_ptr<CgroupHold> hold;  // until the pod's init is in its cgroup
  if (options.shared_pid) {
    ASSIGN_OR_RETURN(const std::string path,
                     node_.cgroups->PathFor(record.cgroup_parent(), record.id()));
    RETURN_IF_ERROR(MakeDirectories(node_.CgroupIntents(record.id()), 0700));
    RETURN_IF_ERROR(WriteFileAtomically(
        absl::StrCat(node_.CgroupIntents(record.id()), "/", record.id()), path, 0600));
    RETURN_IF_ERROR(Failpoint("pods.run.cgroup"));
    ASSIGN_OR_RETURN(hold, node_.cgroups->CreateHeld(path));
    for (const CgroupDirectory& cgroup : node_.cgroups->Directories(path)) {
      options.pod_cgroups.push_back(cgroup.path);
    }
  }
  RETURN_IF_ERROR(Failpoint("pods.run.keeper"));
  ASSIGN_OR_RETURN(std::shared_ptr<Keeper> keeper,
                   node_.launcher->Spawn(options, absl::Now() + kKeeperDeadline));
  absl::Cleanup end_keeper = [&keeper] {
    if (!keeper->Shutdown(absl::Now() + kKeeperDeadline).ok()) keeper->Kill();
  };
  hold.reset();
  record.mutable_keeper()->set_pid(keeper->pid());
  if (options.shared_pid) RETURN_IF_ERROR(FindPodInit(&record));
  keeper_phase.Done();

  RETURN_IF_ERROR(creation.Check());
  absl::Cleanup detach = [this, &record] { UndoAttach(&record); };
  if (options.new_net) {
    RETURN_IF_ERROR(Attach(&record, absl::Now() + kNetworkDeadline));
  }

  RETURN_IF_ERROR(creation.Check());
  RETURN_IF_ERROR(Failpoint("pods.run.watch"));
  RETURN_IF_ERROR(keepers_->Add(keeper));
  absl::Cleanup unwatch = [this, &id] { keepers_->Remove(id); };
  PhaseTimer commit_phase(node_.metrics, PodPhase::kCommit);
  RETURN_IF_ERROR(Failpoint("pods.run.commit"));
  record.set_state(store::v1::POD_STATE_READY);
  if (record.created_at_ns() == 0) record.set_created_at_ns(node_.store->NextCreatedAt());
  RETURN_IF_ERROR(node_.store->PutPod(record, Durability::kNormal));
  std::move(unwatch).Cancel();
  std::move(detach).Cancel();
  std::move(end_keeper).Cancel();
  std::move(remove_directory).Cancel();
  // A death before the commit was heard, but was nothing to record.
  if (!keepers_->Find(id).ok()) OnKeeperDeath(id);
  RETURN_IF_ERROR(Failpoint("pods.run.done"));
  return record.id();
}

// The pod's init is alone in the pod's own cgroup.
absl::Status Sandboxes::FindPodInit(store::v1::PodRecord* record) {
  ASSIGN_OR_RETURN(const std::string path,
                   node_.cgroups->PathFor(record->cgroup_parent(), record->id()));
  ASSIGN_OR_RETURN(const std::vector<pid_t> processes, node_.cgroups->Processes(path));
  if (processes.size() != 1) {
    return absl::UnavailableError(
        absl::StrCat("cgroup ", path, " has ", processes.size(), " processes, not the pod's init"));
  }
  record->mutable_pod_init()->set_pid(processes.front());
  return absl::OkStatus();
}

// Pins the keeper's network namespace and attaches it; the record of the intent comes before the
// first plugin.
absl::Status Sandboxes::Attach(store::v1::PodRecord* record, absl::Time deadline) {
  PhaseTimer netns_phase(node_.metrics, PodPhase::kNetns);
  const PodId id(record->id());
  RETURN_IF_ERROR(Failpoint("pods.run.netns"));
  ASSIGN_OR_RETURN(const UniqueFd netns,
                   OpenFile(absl::StrCat("/proc/", record->keeper().pid(), "/ns/net"), O_RDONLY));
  ASSIGN_OR_RETURN(const std::string path, node_.netns->Pin(id, netns.get()));
  record->set_netns_path(path);
  RETURN_IF_ERROR(Failpoint("pods.run.loopback"));
  RETURN_IF_ERROR(BringLoopbackUp(netns.get()));
  netns_phase.Done();

  PhaseTimer cni_phase(node_.metrics, PodPhase::kCni);
  ASSIGN_OR_RETURN(const AttachRequest request, AttachRequestFor(*record));
  ASSIGN_OR_RETURN(Attachment attachment, node_.network->Prepare(request));
  RETURN_IF_ERROR(Failpoint("pods.run.intent"));
  store::v1::CniAttachment* cni = record->add_cni();
  ToRecord(attachment, store::v1::CniAttachment::INTENT, cni);
  record->set_state(store::v1::POD_STATE_PREPARING);
  record->set_created_at_ns(node_.store->NextCreatedAt());
  RETURN_IF_ERROR(node_.store->PutPod(*record, Durability::kFull));
  RETURN_IF_ERROR(Failpoint("pods.run.cni"));
  const absl::StatusOr<NetworkResult> result = node_.network->Add(&attachment, deadline);
  if (!result.ok()) {
    if (attachment.taken_down) {
      cni->set_phase(store::v1::CniAttachment::DELETED);
    } else {
      record->set_state(store::v1::POD_STATE_REMOVING);
    }
    return result.status();
  }
  ToRecord(attachment, store::v1::CniAttachment::ADDED, cni);
  record->mutable_ips()->Assign(result->ips.begin(), result->ips.end());
  return absl::OkStatus();
}

}  // namespace berth
