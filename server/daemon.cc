#include "server/daemon.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/lock_file.h"
#include "base/log.h"
#include "base/sqlite.h"
#include "base/status.h"
#include "runtime/apparmor.h"
#include "runtime/cgroup_systemd.h"
#include "server/cri/blocking_pool.h"
#include "server/cri/server.h"
#include "server/events/event_hub.h"
#include "server/image_handler.h"
#include "server/images/digest.h"
#include "server/metrics/http_server.h"
#include "server/network/cni_network.h"
#include "server/observers.h"
#include "server/pods/handlers.h"
#include "server/pods/recovery.h"
#include "server/runtime_handler.h"
#include "snapshotter/overlay_store.h"

namespace berth {
namespace {

constexpr absl::Duration kShutdownPatience = absl::Seconds(10);
// For all external runtimes to say what they can do.
constexpr absl::Duration kFeaturesPatience = absl::Seconds(10);

absl::StatusOr<std::string> RealPath(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return ErrnoStatus("realpath", path);
  std::string real = resolved;
  free(resolved);
  return real;
}

absl::StatusOr<std::string> BootId() {
  ASSIGN_OR_RETURN(std::string id, ReadFile("/proc/sys/kernel/random/boot_id", 128));
  return std::string(absl::StripAsciiWhitespace(id));
}

// Each container costs the daemon a few descriptors; the soft limit is often 1,024.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

// In the order of their opening: the later lie on the earlier, and go first.
struct Daemon::Parts : public KeeperObserver {
  explicit Parts(const Config& given) : config(given) {}
  ~Parts() override {
    // What is deferred uses what was opened later.
    if (events != nullptr) events->Stop();
    background.reset();
  }

  absl::Status OpenStorage();
  absl::Status OpenRuntime();
  absl::Status Serve();
  void CollectNetworkGarbage();

  void OnExit(const PodId& pod, const ContainerId& container, const ExitRecord& record) override {
    containers->OnExit(pod, container, record);
  }
  void OnKeeperDeath(const PodId& pod) override {
    // On another thread: this one hears all keepers, and a kill may take seconds.
    events->At(WallNow(), [this, pod] { sandboxes->OnKeeperDeath(pod); });
  }
  StateCounts CountStates() const;

  Config config;
  UniqueFd root_lock;
  UniqueFd state_lock;
  Node node;
  Metrics metrics;
  std::unique_ptr<Database> database;
  std::unique_ptr<Store> store;
  bool records_complete = false;  // nothing was lost with a damaged database
  std::unique_ptr<EventHub> event_hub;
  std::unique_ptr<Timers> deletions;  // removes files, which may take minutes
  std::unique_ptr<OverlayStore> overlay;
  std::unique_ptr<PullMetrics> pull_metrics;
  std::unique_ptr<ImageService> images;
  std::unique_ptr<Network> network;
  std::unique_ptr<NetnsDirectory> netns;
  std::unique_ptr<CgroupHost> cgroups;
  OomLog oom_log;
  std::unique_ptr<CdiRegistry> cdi;
  std::unique_ptr<Handlers> handlers;
  std::unique_ptr<KeeperLauncher> launcher;
  std::unique_ptr<Statistics> statistics;
  std::unique_ptr<Containers> containers;
  std::unique_ptr<Sandboxes> sandboxes;
  std::unique_ptr<BlockingPool> background;  // what the events set off: it may wait for kills
  std::unique_ptr<Timers> events;
  std::unique_ptr<Keepers> keepers;
  std::unique_ptr<ContainerStreams> streams;
  std::unique_ptr<StreamingServer> streaming;
  std::unique_ptr<RuntimeHandler> runtime_handler;
  std::unique_ptr<ImageHandler> image_handler;
  std::unique_ptr<RpcMetrics> rpc_metrics;
  std::unique_ptr<LoggingObserver> rpc_log;
  HttpServer http;
  std::unique_ptr<CriServer> server;
};

absl::Status Daemon::Parts::OpenStorage() {
  RETURN_IF_ERROR(MakeDirectories(config.root, 0700));
  RETURN_IF_ERROR(MakeDirectories(config.state, 0711));
  ASSIGN_OR_RETURN(config.root, RealPath(config.root));
  ASSIGN_OR_RETURN(config.state, RealPath(config.state));
  ASSIGN_OR_RETURN_WITH(root_lock, LockFile(config.root + "/berthd.lock"), "root");
  ASSIGN_OR_RETURN_WITH(state_lock, LockFile(config.state + "/berthd.lock"), "state");
  node.config = &config;
  node.instance = InstanceId(std::string(DigestHex(DigestOf("sha256", config.root)).substr(0, 16)));
  ASSIGN_OR_RETURN(node.boot_id, BootId());

  ASSIGN_OR_RETURN(OpenedDatabase opened, OpenOrSetAside(config.root + "/state.db"));
  if (!opened.set_aside.empty()) {
    LogWarning("state.db was damaged (", opened.damage.message(), "): set aside as ",
               opened.set_aside, ", rebuilding it");
  }
  database = std::move(opened.database);
  Store::Report report;
  ASSIGN_OR_RETURN(store, Store::Open(database.get(), config.state, node.instance, &report));
  event_hub = std::make_unique<EventHub>(store.get());
  if (report.rebuilt || report.lost > 0) {
    LogWarning("store: ", report.from_copies, " records taken from copies, ", report.lost, " lost");
  }
  records_complete = !report.rebuilt && report.lost == 0;
  deletions = std::make_unique<Timers>();
  ASSIGN_OR_RETURN(const std::string unpacker,
                   FindProgram(config.runtime.unpacker, "berth-unpack"));
  ASSIGN_OR_RETURN(overlay, OpenOverlayStore(*database, {.root = config.root,
                                                         .unpacker = unpacker,
                                                         .background =
                                                             [this](std::function<void()> work) {
                                                               deletions->At(WallNow(),
                                                                             std::move(work));
                                                             },
                                                         .adopt = report.rebuilt}));
  pull_metrics = std::make_unique<PullMetrics>(&metrics);
  ImageServiceOptions options;
  options.root = config.root;
  options.config_path = config.registry.config_path;
  options.pinned = config.image.pinned;
  options.concurrent_downloads = static_cast<int>(config.registry.max_concurrent_downloads);
  options.stall_timeout = config.registry.stall_timeout;
  options.limits.tar_bytes = static_cast<uint64_t>(config.image.max_layer_bytes);
  options.limits.entries = static_cast<uint64_t>(config.image.max_layer_files);
  options.observer = pull_metrics.get();
  ASSIGN_OR_RETURN(images,
                   ImageService::Open(std::move(options), database.get(), &overlay->layers()));
  return absl::OkStatus();
}

// RuntimeDefault's profile. Without it pods that ask for it are refused.
void LoadAppArmorProfile() {
  if (!AppArmorIsEnabled()) return;
  constexpr absl::Duration kPatience = absl::Seconds(30);
  if (absl::Status loaded = LoadDefaultAppArmorProfile(absl::Now() + kPatience); !loaded.ok()) {
    LogWarning("AppArmor: the default profile is not loaded: ", loaded.message());
  }
}

absl::Status Daemon::Parts::OpenRuntime() {
  LoadAppArmorProfile();
  network = NewCniNetwork({.config_directory = config.network.conf_dir,
                           .plugin_directories = config.network.bin_dirs,
                           .instance = node.instance.str(),
                           .plugin_timeout = config.network.plugin_timeout});
  netns = std::make_unique<NetnsDirectory>(node.instance);
  ASSIGN_OR_RETURN(const std::string keeper, FindProgram(config.runtime.keeper, "berth-keeper"));
  ASSIGN_OR_RETURN(cgroups, CgroupHost::Detect());
  if (config.cgroup.driver == "systemd") {
    ASSIGN_OR_RETURN(cgroups, SystemdCgroupHost::Make(std::move(cgroups), keeper, node.instance));
  }
  std::vector<std::string> keepers_cgroups;
  if (const std::string& path = config.cgroup.keepers_cgroup; !path.empty()) {
    RETURN_IF_ERROR_WITH(cgroups->Create(path), "cgroup.keepers_cgroup");
    for (const CgroupDirectory& cgroup : cgroups->Directories(path)) {
      keepers_cgroups.push_back(cgroup.path);
    }
  }
  ASSIGN_OR_RETURN(launcher, KeeperLauncher::Make(keeper, std::move(keepers_cgroups)));
  background = std::make_unique<BlockingPool>(BlockingPoolOptions());
  events =
      std::make_unique<Timers>([this](Timers::Work work) { background->Run(std::move(work)); });
  node.store = store.get();
  node.images = images.get();
  node.snapshotter = &overlay->snapshots();
  node.network = network.get();
  node.netns = netns.get();
  node.launcher = launcher.get();
  node.cgroups = cgroups.get();
  node.metrics = &metrics;
  node.timers = events.get();
  cdi = std::make_unique<CdiRegistry>(config.cdi.directories);
  node.cdi = cdi.get();
  node.features = TryHostFeatures(config.root);
  if (!node.features.user_namespaces.ok())
    LogInfo("no user namespaces for pods: ", node.features.user_namespaces.message());
  node.oom_log = &oom_log;
  handlers = std::make_unique<Handlers>(
      Handlers::Probe(config.runtime, node.features, absl::Now() + kFeaturesPatience));
  node.handlers = handlers.get();
  statistics =
      std::make_unique<Statistics>(store.get(), cgroups.get(), &overlay->snapshots(), config.root);
  containers = std::make_unique<Containers>(node);
  sandboxes = std::make_unique<Sandboxes>(node, containers.get());
  ASSIGN_OR_RETURN(keepers, Keepers::Start(this));
  containers->SetKeepers(keepers.get());
  sandboxes->SetKeepers(keepers.get());
  return absl::OkStatus();
}

StateCounts Daemon::Parts::CountStates() const {
  StateCounts counts;
  for (const PodRecordPtr& pod : store->Pods()) {
    ++counts.pods[std::string(PodStateName(pod->state()))];
  }
  for (const ContainerRecordPtr& container : store->Containers()) {
    ++counts.containers[std::string(ContainerStateName(container->state()))];
  }
  counts.images = static_cast<int64_t>(images->List().size());
  counts.keepers["connected"] = static_cast<int64_t>(keepers->size());
  StreamCounts of_streams = streaming->counts();
  counts.stream_connections = of_streams.connections;
  counts.stream_sessions = std::move(of_streams.sessions);
  counts.stream_refusals = std::move(of_streams.refused);
  return counts;
}

// Before the first call: all attachments are known, and none is being made.
void Daemon::Parts::CollectNetworkGarbage() {
  if (!config.network.gc) return;
  if (!records_complete) {
    LogWarning("network.gc: left out, since records of pods were lost");
    return;
  }
  const absl::Status collected =
      sandboxes->CollectNetworkGarbage(absl::Now() + config.network.plugin_timeout);
  if (!collected.ok()) LogWarning("network.gc: ", collected.message(), ", ignoring");
}

absl::Status Daemon::Parts::Serve() {
  streams = std::make_unique<ContainerStreams>(node, containers.get(), keepers.get());
  StreamingServerOptions streaming_options;
  streaming_options.address = config.streaming.address;
  streaming_options.idle = absl::ToChronoMilliseconds(config.streaming.idle_timeout);
  streaming = std::make_unique<StreamingServer>(streaming_options, streams.get());
  RETURN_IF_ERROR_WITH(streaming->Start(), "streaming.address");
  runtime_handler =
      std::make_unique<RuntimeHandler>(node, sandboxes.get(), containers.get(), event_hub.get(),
                                       statistics.get(), streams.get(), streaming.get());
  image_handler = std::make_unique<ImageHandler>(images.get());
  rpc_metrics = std::make_unique<RpcMetrics>(&metrics);
  rpc_log = std::make_unique<LoggingObserver>(rpc_metrics.get());
  const std::string socket = config.SocketPath();
  RETURN_IF_ERROR(MakeDirectories(socket.substr(0, socket.rfind('/')), 0711));
  CriServerOptions options;
  options.address = socket;
  ASSIGN_OR_RETURN(
      server, CriServer::Start(options, runtime_handler.get(), image_handler.get(), rpc_log.get()));
  Recovery(node, containers.get(), sandboxes.get(), keepers.get()).Run();
  event_hub->RecoveryDone();
  if (absl::Status collected = images->CollectGarbage(); !collected.ok()) {
    LogWarning("collect unused layers: ", collected.message(), ", ignoring");
  }
  CollectNetworkGarbage();
  if (!config.metrics_address.empty()) {
    metrics.SetStateSource([this] { return CountStates(); });
    http.Handle("/metrics", [this](const HttpRequest&) {
      return HttpResponse{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                          .body = metrics.Serialize()};
    });
    http.Handle("/healthz", [](const HttpRequest&) { return HttpResponse{.body = "ok\n"}; });
    RETURN_IF_ERROR_WITH(http.Start(config.metrics_address), "metrics_address");
  }
  server->SetReady();
  LogInfo("serving CRI v1 on ", socket, " instance=", node.instance.str(),
          " pods=", store->Pods().size(), " metrics=", http.address());
  return absl::OkStatus();
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Daemon::~Daemon() = default;

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const Config& config) {
  RaiseDescriptorLimit();
  auto parts = std::make_unique<Parts>(config);
  RETURN_IF_ERROR(parts->OpenStorage());
  RETURN_IF_ERROR(parts->OpenRuntime());
  RETURN_IF_ERROR(parts->Serve());
  return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

bool Daemon::Stop() {
  parts_->http.Stop();
  parts_->streaming->Stop();
  if (!parts_->server->Shutdown(absl::Now() + kShutdownPatience)) return false;
  // What is deferred uses the keepers, which go before it. An exit that is dropped here stays in its
  // record and is found at the next start.
  parts_->events->Stop();
  if (!parts_->background->WaitIdle(absl::Now() + kShutdownPatience)) return false;
  if (absl::Status status = parts_->database->Checkpoint(); !status.ok()) {
    LogWarning("state.db: ", status.message(), ", ignoring");
  }
  return true;
}

}  // namespace berth
