// cri_bench: measures a CRI runtime through its socket, ours or any other.
//
//   cri_bench --socket PATH --image REF [options]
//     --runs N           measured rounds of each step (default 40)
//     --warmup N         rounds before them (default 5)
//     --pods N           pods that run while lists, memory and idle CPU are measured (default 30)
//     --parallel N       pods started and stopped at once (default 16)
//     --idle SECONDS     how long idle CPU is watched (default 10; 0 leaves it out)
//     --daemon-pid PID   the runtime's daemon: its memory and CPU
//     --helpers REGEX    command lines of the processes that the runtime adds to a pod (shims,
//     pause)
//     --cni              measure pods with a network of their own, too
//     --cni-list FILE    with --cni-bin: run this .conflist's plugins bare in turn with pods that have
//     --cni-bin DIR      the host's network and pods that have their own, and print what the runtime
//                        adds to the plugins' own time (cni-beyond-plugins)
//     --parts LIST       only these of fresh,steps,network,userns,exec,parallel,pods,streams,loaded (default
//                        all), to profile one
//     --log-dir DIR      where container logs go (made and removed by the caller)
//     --cgroup-parent P  (default /berth-bench; removed by the caller)
//
// Prints lines METRIC<TAB>UNIT<TAB>P50<TAB>P90<TAB>P99<TAB>SAMPLES; a step that the runtime doesn't
// serve has `unimplemented` in place of p50. Any other failure ends it with code 1. It leaves no
// pod.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/bench/bare_plugins.h"
#include "tests/bench/process_cost.h"
#include "tests/bench/report.h"
#include "tests/bench/samples.h"
#include "tests/bench/stream_bench.h"
#include "tests/harness/cri_client.h"
#include "tests/harness/pod_config.h"

namespace berth::testing {
namespace {

struct Options {
  std::string socket, image, log_dir = "/tmp", cgroup_parent = "/berth-bench", helpers;
  std::string cni_list, cni_bin;
  int runs = 40, warmup = 5, pods = 30, parallel = 16, idle = 10, daemon_pid = 0;
  bool cni = false;
  std::set<std::string> parts;
};

// One pod and its container, with the times of its steps.
class BenchPod {
 public:
  BenchPod(CriClient* client, const Options& options, const std::string& name, bool network)
      : client_(client),
        config_(network ? Pod(name) : HostNetworkPod(name)),
        container_config_(Container("c", options.image, {"sleep", "100000"})) {
    config_.mutable_linux()->set_cgroup_parent(options.cgroup_parent);
    config_.set_log_directory(options.log_dir + "/" + name);
    SetLimits(&container_config_);
    MatchNamespaces(config_, &container_config_);
  }

  void UseUserNamespace() {
    cri::UserNamespace* options = config_.mutable_linux()
                                      ->mutable_security_context()
                                      ->mutable_namespace_options()
                                      ->mutable_userns_options();
    options->set_mode(cri::POD);
    for (auto* maps : {options->mutable_uids(), options->mutable_gids()}) {
      cri::IDMapping* map = maps->Add();
      map->set_host_id(1 << 20);
      map->set_length(1 << 16);
    }
    MatchNamespaces(config_, &container_config_);
  }

  void Run() { pod_ = Require(client_->RunPod(config_), "RunPodSandbox"); }
  void Create() {
    container_ =
        Require(client_->CreateContainer(pod_, container_config_, config_), "CreateContainer");
  }
  void Start() { Require(client_->StartContainer(container_), "StartContainer"); }
  void Stop() { Require(client_->StopPod(pod_), "StopPodSandbox"); }
  void Remove() { Require(client_->RemovePod(pod_), "RemovePodSandbox"); }
  void RunAll() { Run(), Create(), Start(); }
  void StopAll() { Stop(), Remove(); }
  const std::string& container() const { return container_; }

 private:
  CriClient* const client_;
  cri::PodSandboxConfig config_;
  cri::ContainerConfig container_config_;
  std::string pod_, container_;
};

class Bench {
 public:
  Bench(CriClient* client, const Options& options)
      : client_(client),
        options_(options),
        helpers_(options.helpers.empty() ? "^$" : options.helpers) {}

  void MeasureAll() {
    Require(client_->PullImage(options_.image).status(), "PullImage");
    if (Wanted("fresh")) MeasureDaemon("daemon.pss.fresh");
    if (Wanted("steps")) MeasureStepByStep(/*network=*/false, "");
    if (Wanted("steps") && options_.cni) MeasureStepByStep(/*network=*/true, ".cni");
    if (Wanted("network") && !options_.cni_list.empty()) MeasureNetworkInPairs();
    if (Wanted("userns")) MeasureUserNamespacesInPairs();
    if (Wanted("exec")) MeasureExec();
    if (Wanted("parallel")) MeasureParallel();
    if (Wanted("pods")) MeasureManyPods();
    if (Wanted("streams")) MeasureStreamsOfAPod();
    if (Wanted("loaded")) MeasureDaemon("daemon.pss");
  }

 private:
  bool Wanted(const std::string& part) const {
    return options_.parts.empty() || options_.parts.count(part) != 0;
  }

  std::string NextName() { return absl::StrCat("bench-", getpid(), "-", next_++); }

  void MeasureDaemon(const char* metric) {
    if (options_.daemon_pid != 0) PrintValue(metric, "MiB", PssKib(options_.daemon_pid) / 1024);
  }

  void MeasureStepByStep(bool network, const std::string& suffix) {
    Samples run, create, start, whole_start, stop, remove, whole_stop, discarded;
    const auto timed = [&](Samples* samples, const std::function<void()>& step) {
      Timer timer(samples);
      step();
    };
    for (int i = -options_.warmup; i < options_.runs; ++i) {
      const bool keep = i >= 0;
      const auto into = [&](Samples* samples) { return keep ? samples : &discarded; };
      BenchPod pod(client_, options_, NextName(), network);
      {
        Timer whole(into(&whole_start));
        timed(into(&run), [&] { pod.Run(); });
        timed(into(&create), [&] { pod.Create(); });
        timed(into(&start), [&] { pod.Start(); });
      }
      {
        Timer whole(into(&whole_stop));
        timed(into(&stop), [&] { pod.Stop(); });
        timed(into(&remove), [&] { pod.Remove(); });
      }
    }
    Print("RunPodSandbox" + suffix, "ms", run);
    Print("CreateContainer" + suffix, "ms", create);
    Print("StartContainer" + suffix, "ms", start);
    Print("whole-start" + suffix, "ms", whole_start);
    Print("StopPodSandbox" + suffix, "ms", stop);
    Print("RemovePodSandbox" + suffix, "ms", remove);
    Print("whole-stop" + suffix, "ms", whole_stop);
  }

  double StartOnce(bool network, bool user_namespace = false) {
    BenchPod pod(client_, options_, NextName(), network);
    if (user_namespace) pod.UseUserNamespace();
    const absl::Time begin = absl::Now();
    pod.RunAll();
    const double took = absl::ToDoubleMilliseconds(absl::Now() - begin);
    pod.StopAll();
    return took;
  }

  // Bare plugins, a pod with the host's network and one with its own, in turn: what slows the
  // machine down for a while slows all three.
  void MeasureNetworkInPairs() {
    const auto plugins =
        Require(LoadBarePlugins(options_.cni_list, options_.cni_bin), "--cni-list");
    Samples bare, beyond;
    for (int i = -options_.warmup; i < options_.runs; ++i) {
      const double plugin_ms = absl::ToDoubleMilliseconds(Require(plugins->Run(), "bare plugins"));
      const double host_ms = StartOnce(/*network=*/false);
      const double network_ms = StartOnce(/*network=*/true);
      if (i < 0) continue;
      bare.AddValue(plugin_ms);
      beyond.AddValue(network_ms - host_ms - plugin_ms);
    }
    Print("cni-plugins-bare", "ms", bare);
    Print("cni-beyond-plugins", "ms", beyond);
  }

  // With the host's network both. Only where the daemon announces them.
  void MeasureUserNamespacesInPairs() {
    const auto status =
        Require(client_->Call(&CriClient::Runtime::Status, cri::StatusRequest()), "Status");
    if (!status.features().user_namespaces_host_network())
      return PrintUnimplemented("userns-start", "ms");
    Samples ordinary, mapped, ratio;
    for (int i = -options_.warmup; i < options_.runs; ++i) {
      const double ordinary_ms = StartOnce(/*network=*/false);
      const double mapped_ms = StartOnce(/*network=*/false, /*user_namespace=*/true);
      if (i < 0) continue;
      ordinary.AddValue(ordinary_ms);
      mapped.AddValue(mapped_ms);
      ratio.AddValue(mapped_ms / ordinary_ms);
    }
    Print("ordinary-start", "ms", ordinary);
    Print("userns-start", "ms", mapped);
    Print("userns-to-ordinary", "ratio", ratio);
  }

  void MeasureExec() {
    BenchPod pod(client_, options_, NextName(), false);
    pod.RunAll();
    Samples exec;
    for (int i = -options_.warmup; i < options_.runs * 3; ++i) {
      const absl::Time begin = absl::Now();
      const auto answer = Require(client_->ExecSync(pod.container(), {"/bin/true"}), "ExecSync");
      if (answer.exit_code() != 0)
        Die("ExecSync", absl::InternalError("/bin/true answers non-zero"));
      if (i >= 0) exec.Add(absl::Now() - begin);
    }
    Print("ExecSync", "ms", exec);
    pod.StopAll();
  }

  // Runs `step` on all pods, a thread each; returns milliseconds per pod.
  static double AtOnce(std::vector<BenchPod>* pods, void (BenchPod::*step)()) {
    const absl::Time begin = absl::Now();
    std::vector<std::thread> threads;
    for (BenchPod& pod : *pods) threads.emplace_back([&pod, step] { (pod.*step)(); });
    for (std::thread& thread : threads) thread.join();
    return absl::ToDoubleMilliseconds(absl::Now() - begin) / pods->size();
  }

  void MeasureParallel() {
    Samples start, stop;
    for (int round = -1; round < std::clamp(options_.runs / 8, 3, 10); ++round) {
      std::vector<BenchPod> pods;
      pods.reserve(options_.parallel);
      for (int i = 0; i < options_.parallel; ++i) {
        pods.emplace_back(client_, options_, NextName(), false);
      }
      const double start_ms = AtOnce(&pods, &BenchPod::RunAll);
      const double stop_ms = AtOnce(&pods, &BenchPod::StopAll);
      if (round < 0) continue;
      start.AddValue(start_ms);
      stop.AddValue(stop_ms);
    }
    Print("parallel-start", "ms/pod", start);
    Print("parallel-stop", "ms/pod", stop);
  }

  void MeasureManyPods() {
    const auto before = FindProcesses(helpers_);
    std::vector<BenchPod> pods;
    for (int i = 0; i < options_.pods; ++i) {
      pods.emplace_back(client_, options_, NextName(), false);
      pods.back().RunAll();
    }
    MeasureLists();
    MeasureMemoryPerPod(before);
    MeasureIdle(before);
    for (BenchPod& pod : pods) pod.StopAll();
  }

  void MeasureLists() {
    Samples containers, stats;
    for (int i = 0; i < options_.runs * 3; ++i) {
      Timer timer(&containers);
      Require(client_->ListContainers().status(), "ListContainers");
    }
    Print("ListContainers", "ms", containers);
    for (int i = 0; i < options_.runs; ++i) {
      const absl::Time begin = absl::Now();
      const auto answer =
          client_->Call(&CriClient::Runtime::ListContainerStats, cri::ListContainerStatsRequest());
      if (absl::IsUnimplemented(answer.status())) {
        return PrintUnimplemented("ListContainerStats", "ms");
      }
      Require(answer.status(), "ListContainerStats");
      stats.Add(absl::Now() - begin);
    }
    Print("ListContainerStats", "ms", stats);
  }

  // What the runtime has beyond the containers, for their memory.
  void MeasureStreamsOfAPod() {
    const auto before = FindProcesses(helpers_);
    StreamBenchOptions streams;
    streams.image = options_.image;
    streams.pod = HostNetworkPod(NextName());
    streams.pod.mutable_linux()->set_cgroup_parent(options_.cgroup_parent);
    streams.pod.set_log_directory(absl::StrCat(options_.log_dir, "/", NextName()));
    streams.runs = options_.runs;
    streams.runtime = [this, before] {
      auto processes = NewHelpers(before);
      if (options_.daemon_pid != 0) processes.insert(options_.daemon_pid);
      return processes;
    };
    MeasureStreams(client_, streams);
  }

  std::set<pid_t> NewHelpers(const std::set<pid_t>& before) {
    std::set<pid_t> result;
    for (const pid_t pid : FindProcesses(helpers_)) {
      if (before.count(pid) == 0 && pid != getpid()) result.insert(pid);
    }
    return result;
  }

  void MeasureMemoryPerPod(const std::set<pid_t>& before) {
    if (options_.helpers.empty()) return;
    const auto helpers = NewHelpers(before);
    PrintValue("helpers-per-pod", "processes", 1.0 * helpers.size() / options_.pods);
    PrintValue("memory-per-pod", "KiB PSS", PssKib(helpers) / options_.pods);
  }

  void MeasureIdle(const std::set<pid_t>& before) {
    if (options_.idle == 0 || options_.daemon_pid == 0) return;
    auto processes = NewHelpers(before);
    processes.insert(options_.daemon_pid);
    // What the starts left to do, and the end of threads that idle: their time would be subtracted.
    absl::SleepFor(absl::Seconds(8));
    const double begin = CpuMs(processes);
    absl::SleepFor(absl::Seconds(options_.idle));
    const double used = CpuMs(processes) - begin;
    PrintValue("idle-cpu", "%", used / (options_.idle * 1000.0) * 100);
  }

  CriClient* const client_;
  const Options& options_;
  const std::regex helpers_;
  int next_ = 0;
};

bool ParseOptions(int argc, char** argv, Options* options) {
  const std::map<std::string, std::function<void(const char*)>> flags = {
      {"socket", [&](const char* v) { options->socket = v; }},
      {"image", [&](const char* v) { options->image = v; }},
      {"runs", [&](const char* v) { options->runs = atoi(v); }},
      {"warmup", [&](const char* v) { options->warmup = atoi(v); }},
      {"pods", [&](const char* v) { options->pods = atoi(v); }},
      {"parallel", [&](const char* v) { options->parallel = atoi(v); }},
      {"idle", [&](const char* v) { options->idle = atoi(v); }},
      {"daemon-pid", [&](const char* v) { options->daemon_pid = atoi(v); }},
      {"helpers", [&](const char* v) { options->helpers = v; }},
      {"cni-list", [&](const char* v) { options->cni_list = v; }},
      {"cni-bin", [&](const char* v) { options->cni_bin = v; }},
      {"log-dir", [&](const char* v) { options->log_dir = v; }},
      {"parts", [&](const char* v) { options->parts = absl::StrSplit(v, ',', absl::SkipEmpty()); }},
      {"cgroup-parent", [&](const char* v) { options->cgroup_parent = v; }},
  };
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--cni") {
      options->cni = true;
      continue;
    }
    const auto found = flag.rfind("--", 0) == 0 ? flags.find(flag.substr(2)) : flags.end();
    if (found == flags.end() || i + 1 == argc) {
      fprintf(stderr, "cri_bench: %s: unknown, or its value is missing\n", flag.c_str());
      return false;
    }
    found->second(argv[++i]);
  }
  return !options->socket.empty() && !options->image.empty() && options->runs > 0 &&
         options->pods > 0 && options->parallel > 0;
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, &options)) {
    fprintf(stderr, "usage: cri_bench --socket PATH --image REF [options, see its source]\n");
    return 2;
  }
  CriClient client(options.socket);
  if (!client.WaitUntilServing(absl::Seconds(20))) {
    Die(options.socket, absl::UnavailableError("no answer to Status"));
  }
  Bench(&client, options).MeasureAll();
  return 0;
}

}  // namespace
}  // namespace berth::testing

int main(int argc, char** argv) { return berth::testing::Main(argc, argv); }
