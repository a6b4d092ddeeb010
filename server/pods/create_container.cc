// CreateContainer, and the making of a container's process.
#include <fcntl.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "runtime/compiler.h"
#include "runtime/path_process.h"
#include "server/network/pod_files.h"
#include "server/pods/containers.h"
#include "server/pods/external_runtime.h"
#include "server/pods/fingerprint.h"
#include "server/pods/image_defaults.h"
#include "server/pods/signals.h"
#include "server/pods/user_namespace.h"

namespace berth {
namespace {

// The keeper's part takes milliseconds; a disk that hangs below a volume is what this bounds.
constexpr absl::Duration kProcessDeadline = absl::Minutes(2);

absl::Status Validate(const cri::ContainerConfig& config) {
  if (!config.has_metadata() || config.metadata().name().empty()) {
    return absl::InvalidArgumentError("config.metadata.name is empty");
  }
  if (config.image().image().empty()) {
    return absl::InvalidArgumentError("config.image.image is empty");
  }
  for (const absl::string_view part : absl::StrSplit(config.log_path(), '/')) {
    if (part == "..")
      return absl::InvalidArgumentError("config.log_path leads out of its directory");
  }
  return absl::OkStatus();
}

// CRI's, else the image's, else SIGTERM.
absl::StatusOr<std::string> StopSignal(const cri::ContainerConfig& config, const Image& image) {
  if (std::string name = SignalName(config.stop_signal()); !name.empty()) return name;
  if (image.config.stop_signal.empty()) return std::string("SIGTERM");
  RETURN_IF_ERROR_WITH(ParseSignal(image.config.stop_signal).status(), "stop signal of the image");
  return image.config.stop_signal;
}

// What a disk gets to answer for a volume; a thread of ours never waits for one.
constexpr absl::Duration kVolumePatience = absl::Seconds(30);

// A volume's directory that isn't there is made, as kubelet and users expect of a runtime.
absl::Status MakeMissingSources(const KeeperLauncher& launcher, const cri::ContainerConfig& config,
                                absl::Time deadline) {
  std::vector<std::string> paths;
  for (const cri::Mount& mount : config.mounts()) {
    if (!mount.host_path().empty() && mount.host_path()[0] == '/') {
      paths.push_back(mount.host_path());
    }
  }
  if (paths.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(Failpoint("containers.create.source"));
  RETURN_IF_ERROR_WITH(PathProcess(launcher.binary())
                           .MakeMissing(paths, std::min(deadline, absl::Now() + kVolumePatience)),
                       "config.mounts");
  return absl::OkStatus();
}

// The view that an image volume is: it keeps the image's layers while the container is there.
SnapshotId VolumeSnapshot(const std::string& container, int mount) {
  return SnapshotId(absl::StrCat(container, "-volume-", mount));
}

bool IsImageVolume(const cri::Mount& mount) {
  return mount.has_image() && !mount.image().image().empty();
}

std::string LogPath(const store::v1::PodRecord& pod, const cri::ContainerConfig& config) {
  if (pod.config().log_directory().empty() || config.log_path().empty()) return "";
  return absl::StrCat(pod.config().log_directory(), "/", config.log_path());
}

}  // namespace

absl::StatusOr<ContainerId> Containers::Create(const CallContext& context,
                                               const cri::CreateContainerRequest& request) {
  RETURN_IF_ERROR(Validate(request.config()));
  ASSIGN_OR_RETURN(const PodRecordPtr pod, node_.store->FindPod(request.pod_sandbox_id()));
  const cri::ContainerMetadata& metadata = request.config().metadata();
  ASSIGN_OR_RETURN(
      std::string id,
      claims_.Run(
          absl::StrCat("container ", pod->id(), "/", metadata.name(), "/", metadata.attempt()),
          Fingerprint(request.config()), context,
          [&](const Creation& creation) { return Make(creation, PodId(pod->id()), request); }));
  return ContainerId(std::move(id));
}

absl::StatusOr<ContainerRecordPtr> Containers::Existing(const store::v1::PodRecord& pod,
                                                        const cri::ContainerConfig& config) const {
  for (ContainerRecordPtr& record : node_.store->ContainersOf(PodId(pod.id()))) {
    const cri::ContainerMetadata& metadata = record->config().metadata();
    if (metadata.name() != config.metadata().name() ||
        metadata.attempt() != config.metadata().attempt()) {
      continue;
    }
    if (record->state() == store::v1::CONTAINER_STATE_CREATED &&
        Fingerprint(record->config()) == Fingerprint(config)) {
      return std::move(record);
    }
    return absl::AlreadyExistsError(absl::StrCat(
        "container ", metadata.name(), " attempt ", metadata.attempt(), " of pod ", pod.id(),
        " exists already: ", record->id(), " (", ContainerStateName(record->state()), ")"));
  }
  return nullptr;
}

absl::StatusOr<std::string> Containers::Make(const Creation& creation, const PodId& pod_id,
                                             const cri::CreateContainerRequest& request) {
  const cri::ContainerConfig& config = request.config();
  // Left when this returns, after all undo.
  ASSIGN_OR_RETURN(const Admissions::Admission admission, admissions_.Enter(pod_id));
  const PodRecordPtr pod = node_.store->Pod(pod_id);
  if (pod == nullptr) return absl::NotFoundError(absl::StrCat("pod ", pod_id.str(), " not found"));
  ASSIGN_OR_RETURN(const ContainerRecordPtr existing, Existing(*pod, config));
  if (existing != nullptr) return existing->id();
  if (pod->state() != store::v1::POD_STATE_READY) {
    return absl::FailedPreconditionError(
        absl::StrCat("pod ", pod->id(), " is ", PodStateName(pod->state())));
  }

  PhaseTimer image_phase(node_.metrics, ContainerPhase::kImage);
  ASSIGN_OR_RETURN_WITH(const std::shared_ptr<const Image> image,
                        node_.images->Resolve(config.image().image()), "config.image");
  image_phase.Done();

  store::v1::ContainerRecord record;
  const ContainerId id = NewContainerId();
  record.set_id(id.str());
  record.set_pod_id(pod->id());
  record.set_state(store::v1::CONTAINER_STATE_CREATED);
  *record.mutable_config() = config;
  record.set_attempt(config.metadata().attempt());
  record.set_image_id(image->id.str());
  *record.mutable_image_defaults() = ToRecord(image->config);
  if (!image->repo_digests.empty()) record.set_image_ref(image->repo_digests.front());
  record.set_user_image(config.image().user_specified_image().empty()
                            ? config.image().image()
                            : config.image().user_specified_image());
  record.set_log_path(LogPath(*pod, config));
  record.set_boot_id(node_.boot_id);
  *record.mutable_resources() = config.linux().resources();
  ASSIGN_OR_RETURN(*record.mutable_stop_signal(), StopSignal(config, *image));
  ASSIGN_OR_RETURN(*record.mutable_cgroup_path(),
                   node_.cgroups->PathFor(pod->cgroup_parent(), id.str()));

  PhaseTimer snapshot_phase(node_.metrics, ContainerPhase::kSnapshot);
  RETURN_IF_ERROR(Failpoint("containers.create.snapshot"));
  const SnapshotId snapshot(id.str());
  ASSIGN_OR_RETURN(const PodIdMaps maps, PodIdMapsOf(pod->namespaces(), "namespaces"));
  ASSIGN_OR_RETURN(OverlayMount mount,
                   node_.snapshotter->Prepare(snapshot, image->layers,
                                              {.uid = maps.root_uid(), .gid = maps.root_gid()}));
  absl::Cleanup remove_snapshot = [this, &snapshot] {
    leftovers_.RemoveOrRetry(absl::StrCat("snapshot ", snapshot.str()),
                             [this, snapshot] { return node_.snapshotter->Remove(snapshot); });
  };
  record.set_snapshot_id(snapshot.str());
  absl::Cleanup remove_volumes = [this, &record] {
    leftovers_.RemoveOrRetry(absl::StrCat("volumes of container ", record.id()),
                             [this, record] { return RemoveVolumes(record); });
  };
  RETURN_IF_ERROR(MakeVolumes(record));
  snapshot_phase.Done();

  RETURN_IF_ERROR(creation.Check());
  RETURN_IF_ERROR(admission.Check());
  RETURN_IF_ERROR(MakeProcess(&record, *pod, absl::Now() + kProcessDeadline));
  absl::Cleanup remove_process = [this, &record, &id] {
    ForgetInKeeper(PodId(record.pod_id()), id);
    DropCgroup(record);
    live_.Erase(id);
  };

  RETURN_IF_ERROR(creation.Check());
  RETURN_IF_ERROR(admission.Check());
  PhaseTimer store_phase(node_.metrics, ContainerPhase::kStore);
  RETURN_IF_ERROR(Failpoint("containers.create.commit"));
  record.set_created_at_ns(node_.store->NextCreatedAt());
  RETURN_IF_ERROR(node_.store->PutContainer(record, Durability::kNormal));
  std::move(remove_process).Cancel();
  std::move(remove_volumes).Cancel();
  std::move(remove_snapshot).Cancel();
  RETURN_IF_ERROR(Failpoint("containers.create.done"));
  return record.id();
}

absl::StatusOr<BuiltSpec> Containers::BuildSpecOf(const store::v1::ContainerRecord& record,
                                                  const store::v1::PodRecord& pod,
                                                  const std::vector<CdiEdits>& cdi_edits) const {
  PodFacts pod_facts;
  pod_facts.id = pod.id();
  pod_facts.hostname = pod.config().hostname();
  const PodFiles files = PodFilesBelow(node_.PodDirectory(pod.id()));
  pod_facts.hosts_path = files.hosts;
  pod_facts.hostname_path = files.hostname;
  pod_facts.resolv_conf_path = files.resolv_conf;
  pod_facts.netns_path = pod.netns_path();
  pod_facts.keeper_pid = pod.keeper().pid();
  pod_facts.pod_init_pid = pod.pod_init().pid();
  ContainerFacts facts;
  facts.id = record.id();
  facts.cgroup_path = record.cgroup_path();
  facts.image_name = record.user_image();
  const cri::NamespaceOption& namespaces =
      record.config().linux().security_context().namespace_options();
  if (namespaces.pid() == cri::TARGET) {
    const auto target = node_.store->FindContainer(namespaces.target_id());
    facts.pid_target = target.ok() ? (*target)->id() : namespaces.target_id();
    facts.pid_target_pid = target.ok() ? (*target)->init().pid() : 0;
  }
  facts.cdi_edits = cdi_edits;
  const ImageConfig image = FromRecord(record.image_defaults());
  cri::ContainerConfig config = record.config();
  *config.mutable_linux()->mutable_resources() = record.resources();
  ASSIGN_OR_RETURN(BuiltSpec built,
                   BuildSpec(config, pod.config(), image, pod_facts, facts, ThisHost()));
  CgroupResources& limits = built.spec.linux_.resources;
  // A container that is there goes on when its handler's configuration has gone.
  if (const auto handler = node_.handlers->Find(pod.runtime_handler()); handler.ok()) {
    PassOnAnnotations(**handler, record.config().annotations(), &built.spec.annotations);
    PassOnAnnotations(**handler, pod.config().annotations(), &built.spec.annotations);
  }
  if (node_.config->runtime.pids_limit > 0 && !limits.pids_limit.has_value()) {
    limits.pids_limit = node_.config->runtime.pids_limit;
  }
  return built;
}

absl::StatusOr<std::shared_ptr<const BuiltSpec>> Containers::SpecOf(
    const store::v1::ContainerRecord& record) {
  const ContainerId id(record.id());
  if (std::shared_ptr<const BuiltSpec> spec = live_.Spec(id); spec != nullptr) return spec;
  const PodRecordPtr pod = node_.store->Pod(PodId(record.pod_id()));
  if (pod == nullptr)
    return absl::NotFoundError(absl::StrCat("pod ", record.pod_id(), " not found"));
  // A container that is there has its devices. An exec in it takes the environment; without the vendor's
  // file it goes without that.
  const std::vector<CdiEdits> cdi =
      node_.cdi->Resolve(CdiDevicesOf(record.config())).value_or(std::vector<CdiEdits>());
  ASSIGN_OR_RETURN(BuiltSpec built, BuildSpecOf(record, *pod, cdi));
  auto spec = std::make_shared<const BuiltSpec>(std::move(built));
  live_.SetSpec(id, spec);
  return spec;
}

absl::Status Containers::MakeVolumes(const store::v1::ContainerRecord& record) {
  for (int i = 0; i < record.config().mounts_size(); ++i) {
    const cri::Mount& mount = record.config().mounts(i);
    if (!IsImageVolume(mount)) continue;
    const std::string field = absl::StrCat("config.mounts[", i, "].image");
    ASSIGN_OR_RETURN_WITH(const std::shared_ptr<const Image> image,
                          node_.images->Resolve(mount.image().image()), field);
    RETURN_IF_ERROR(Failpoint("containers.create.volume"));
    RETURN_IF_ERROR_WITH(
        node_.snapshotter->View(VolumeSnapshot(record.id(), i), image->layers).status(), field);
  }
  return absl::OkStatus();
}

absl::Status Containers::RemoveVolumes(const store::v1::ContainerRecord& record) {
  absl::Status result;
  for (int i = 0; i < record.config().mounts_size(); ++i) {
    if (!IsImageVolume(record.config().mounts(i))) continue;
    result.Update(node_.snapshotter->Remove(VolumeSnapshot(record.id(), i)));
  }
  return result;
}

absl::StatusOr<std::map<std::string, std::vector<std::string>>> Containers::VolumeLayers(
    const store::v1::ContainerRecord& record) const {
  std::map<std::string, std::vector<std::string>> layers;
  for (int i = 0; i < record.config().mounts_size(); ++i) {
    const cri::Mount& mount = record.config().mounts(i);
    if (!IsImageVolume(mount)) continue;
    ASSIGN_OR_RETURN(OverlayMount overlay,
                     node_.snapshotter->Mounts(VolumeSnapshot(record.id(), i)));
    ASSIGN_OR_RETURN(const std::string target, MountTarget(mount.container_path()));
    layers[target] = std::move(overlay.lowers);
  }
  return layers;
}

std::vector<std::string> Containers::SnapshotsOf(const store::v1::ContainerRecord& record) {
  std::vector<std::string> ids = {record.snapshot_id()};
  for (int i = 0; i < record.config().mounts_size(); ++i) {
    if (IsImageVolume(record.config().mounts(i)))
      ids.push_back(VolumeSnapshot(record.id(), i).str());
  }
  return ids;
}

absl::StatusOr<std::unique_ptr<CgroupHold>> Containers::MakeCgroup(
    const store::v1::ContainerRecord& record, const CgroupResources& limits) {
  const std::string intents = node_.CgroupIntents(record.pod_id());
  RETURN_IF_ERROR(Failpoint("containers.create.note"));
  RETURN_IF_ERROR(MakeDirectories(intents, 0700));
  const std::string intent = absl::StrCat(intents, "/", record.id());
  RETURN_IF_ERROR(WriteFileAtomically(intent, record.cgroup_path(), 0600));
  absl::Cleanup undo = [this, &record] { DropCgroup(record); };
  RETURN_IF_ERROR(Failpoint("containers.create.cgroup"));
  ASSIGN_OR_RETURN_WITH(std::unique_ptr<CgroupHold> hold,
                        node_.cgroups->CreateHeld(record.cgroup_path()), "cgroup");
  RETURN_IF_ERROR_WITH(node_.cgroups->Apply(record.cgroup_path(), limits), "linux.resources");
  std::move(undo).Cancel();
  return hold;
}

absl::Status Containers::RemoveCgroup(const std::string& pod, const std::string& container,
                                      const std::string& cgroup_path, absl::Time deadline) {
  if (cgroup_path.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(node_.cgroups->Kill(cgroup_path, deadline));
  RETURN_IF_ERROR(RemoveBundle(node_.BundleDirectory(pod, container), deadline));
  RETURN_IF_ERROR(node_.cgroups->Remove(cgroup_path));
  return RemoveTree(absl::StrCat(node_.CgroupIntents(pod), "/", container));
}

void Containers::DropCgroup(const store::v1::ContainerRecord& record) {
  const auto remove = [this, pod = record.pod_id(), id = record.id(), path = record.cgroup_path()] {
    return RemoveCgroup(pod, id, path, absl::Now() + absl::Seconds(10));
  };
  const std::string what = absl::StrCat("cgroup ", record.cgroup_path());
  if (node_.store->Container(ContainerId(record.id())) == nullptr) {
    leftovers_.RemoveOrRetry(what, remove);
    return;
  }
  // Not later: its next process may be in there by then.
  if (absl::Status status = remove(); !status.ok()) {
    LogWarning("take away ", what, ": ", status.message(), ", ignoring: its removal does it");
  }
}

absl::Status Containers::RemoveNotedCgroups(const std::string& pod,
                                            const std::set<std::string>& kept,
                                            absl::Time deadline) {
  const auto names = ListDirectory(node_.CgroupIntents(pod));
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  RETURN_IF_ERROR(names.status());
  std::vector<std::pair<std::string, std::string>> paths;  // by name
  for (const std::string& name : *names) {
    if (kept.contains(name)) continue;
    // The daemon died while it wrote it, before there was a cgroup.
    if (absl::StrContains(name, ".tmp-")) {
      RETURN_IF_ERROR(RemoveTree(absl::StrCat(node_.CgroupIntents(pod), "/", name)));
      continue;
    }
    const auto path = ReadFile(absl::StrCat(node_.CgroupIntents(pod), "/", name), 4096);
    if (!path.ok() || path->empty()) continue;
    node_.cgroups->SendKill(*path).IgnoreError();  // and again below
    paths.emplace_back(name, *path);
  }
  absl::Status first;
  for (const auto& [name, path] : paths) {
    first.Update(Annotate(RemoveCgroup(pod, name, path, deadline), absl::StrCat("cgroup ", path)));
  }
  return first;
}

absl::Status Containers::CheckPidTarget(const store::v1::ContainerRecord& record) const {
  constexpr absl::string_view kField = "linux.security_context.namespace_options.target_id";
  const cri::NamespaceOption& namespaces =
      record.config().linux().security_context().namespace_options();
  if (namespaces.pid() != cri::TARGET || namespaces.target_id().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN_WITH(const ContainerRecordPtr target,
                        node_.store->FindContainer(namespaces.target_id()), kField);
  if (target->pod_id() != record.pod_id()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kField, ": container ", target->id(), " is in another pod"));
  }
  if (target->state() != store::v1::CONTAINER_STATE_RUNNING) {
    return absl::FailedPreconditionError(absl::StrCat(kField, ": container ", target->id(), " is ",
                                                      ContainerStateName(target->state()),
                                                      ", not running"));
  }
  return absl::OkStatus();
}

absl::Status Containers::ExplainDeath(const store::v1::ContainerRecord& record,
                                      const absl::Status& failure) const {
  if (!absl::IsUnavailable(failure)) return failure;
  const absl::StatusOr<OomState> oom = node_.cgroups->Oom(record.cgroup_path());
  if (!oom.ok() || oom->oom_kills == 0) return failure;
  const std::string message = ExplainOom(record);
  if (record.resources().memory_limit_in_bytes() <= 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the process was killed for memory before it could start: ", message));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "linux.resources.memory_limit_in_bytes: the process was killed for memory before "
      "it could start, ",
      record.resources().memory_limit_in_bytes(), " bytes are too few: ", message));
}

absl::Status Containers::MakeProcess(store::v1::ContainerRecord* record,
                                     const store::v1::PodRecord& pod, absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Keeper> keeper, keepers_->Find(PodId(pod.id())));
  ASSIGN_OR_RETURN(const Handler* handler, node_.handlers->Find(pod.runtime_handler()));
  PhaseTimer spec_phase(node_.metrics, ContainerPhase::kSpec);
  RETURN_IF_ERROR(CheckPidTarget(*record));
  RETURN_IF_ERROR(MakeMissingSources(*node_.launcher, record->config(), deadline));
  absl::StatusOr<std::vector<CdiEdits>> cdi = node_.cdi->Resolve(CdiDevicesOf(record->config()));
  if (!cdi.ok()) return Annotate(cdi.status(), "CDI_devices");
  ASSIGN_OR_RETURN(BuiltSpec built, BuildSpecOf(*record, pod, *cdi));
  spec_phase.Done();

  PhaseTimer cgroup_phase(node_.metrics, ContainerPhase::kCgroup);
  ASSIGN_OR_RETURN(const std::unique_ptr<CgroupHold> hold,
                   MakeCgroup(*record, built.spec.linux_.resources));
  cgroup_phase.Done();
  absl::Cleanup undo_cgroup = [this, record] { DropCgroup(*record); };

  PhaseTimer plan_phase(node_.metrics, ContainerPhase::kPlan);
  ASSIGN_OR_RETURN(OverlayMount mount,
                   node_.snapshotter->Mounts(SnapshotId(record->snapshot_id())));
  CompileInput input;
  input.lowers = std::move(mount.lowers);
  input.upper = std::move(mount.upper);
  input.work = std::move(mount.work);
  ASSIGN_OR_RETURN(input.layers, VolumeLayers(*record));
  input.cgroups = node_.cgroups->Directories(record->cgroup_path());
  input.user = built.user;
  input.joined_pid = built.joined_pid;
  input.pid_target = built.pid_target;
  input.stdin_open = built.stdin_open;
  input.stdin_once = built.stdin_once;
  const std::string bundle = node_.BundleDirectory(pod.id(), record->id());
  ASSIGN_OR_RETURN(
      const std::string plan,
      handler->external()
          ? MakeBundle(ExternalRuntimeOf(*handler, bundle, record->id()), built.spec, input)
          : CompilePlan(built.spec, input));
  plan_phase.Done();

  PhaseTimer create_phase(node_.metrics, ContainerPhase::kCreate);
  RETURN_IF_ERROR(Failpoint("containers.create.keeper"));
  const ContainerId id(record->id());
  StdioOptions stdio;
  stdio.stdin_open = built.stdin_open;
  absl::StatusOr<CreatedContainer> made = keeper->Create(id, plan, stdio, deadline);
  if (!made.ok()) return ExplainDeath(*record, ExplainRuntime(bundle, made.status()));
  const CreatedContainer created = *std::move(made);
  if (handler->external()) {
    // Some runtimes take over a cgroup by lifting its limits (crun 1.8, memory of v1).
    CgroupResources limits = built.spec.linux_.resources;
    limits.devices.reset();
    const absl::Status limited = node_.cgroups->Apply(record->cgroup_path(), limits);
    if (!limited.ok()) {
      ForgetInKeeper(PodId(pod.id()), id);
      return Annotate(limited, "linux.resources");
    }
  }
  create_phase.Done();
  RETURN_IF_ERROR(Failpoint("containers.create.made"));
  std::move(undo_cgroup).Cancel();

  record->mutable_init()->set_pid(created.pid);
  cri::LinuxContainerUser* user = record->mutable_user();
  user->Clear();
  user->set_uid(created.user.uid);
  user->set_gid(created.user.gid);
  for (const uint32_t group : created.user.groups) user->add_supplemental_groups(group);
  live_.SetSpec(id, std::make_shared<const BuiltSpec>(std::move(built)));
  live_.SetGated(id, true);
  return absl::OkStatus();
}

}  // namespace berth
