// How long the daemon works for one container before the keeper does: CRI configuration → spec → plan;
// and what the default filter costs when it is installed (in a child each time).
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "nlohmann/json.hpp"
#include "runtime/compiler.h"
#include "runtime/seccomp/filter.h"
#include "server/pods/spec_builder.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

// CPU time: what others do on the machine doesn't count.
double ThreadSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

struct Typical {
  Typical() {
    container.mutable_metadata()->set_name("app");
    for (int i = 0; i < 20; ++i) {
      auto* env = container.add_envs();
      env->set_key(absl::StrCat("SERVICE_", i, "_HOST"));
      env->set_value("10.0.0.1");
    }
    for (int i = 0; i < 5; ++i) {
      auto* mount = container.add_mounts();
      mount->set_container_path(absl::StrCat("/var/data/", i));
      mount->set_host_path("/tmp");
    }
    auto* context = container.mutable_linux()->mutable_security_context();
    context->mutable_seccomp();
    context->set_no_new_privs(true);
    for (const char* path : {"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list"}) {
      context->add_masked_paths(path);
    }
    for (const char* path : {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"}) {
      context->add_readonly_paths(path);
    }
    container.mutable_linux()->mutable_resources()->set_cpu_shares(512);
    image.cmd = {"sleep", "1000"};
    image.env = {"PATH=/bin"};
    input.lowers = {"/l/3", "/l/2", "/l/1"};
    input.upper = "/u";
    input.work = "/w";
    for (const char* name :
         {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "unified"}) {
      input.cgroups.push_back({absl::StrCat("/sys/fs/cgroup/", name, "/k/x"), name, 0});
    }
  }
  cri::ContainerConfig container;
  cri::PodSandboxConfig pod;
  ImageConfig image;
  PodFacts pod_facts;
  ContainerFacts facts;
  CompileInput input;
};

void BuildAndCompile(benchmark::State& state) {
  const Typical t;
  size_t bytes = 0;
  for (auto _ : state) {
    auto built = BuildSpec(t.container, t.pod, t.image, t.pod_facts, t.facts, ThisHost());
    if (!built.ok()) return state.SkipWithError(built.status().ToString().c_str());
    auto plan = CompilePlan(built->spec, t.input);
    if (!plan.ok()) return state.SkipWithError(plan.status().ToString().c_str());
    bytes = plan->size();
  }
  state.counters["plan_bytes"] = static_cast<double>(bytes);
}
BENCHMARK(BuildAndCompile)->Unit(benchmark::kMicrosecond);

void CompileOnly(benchmark::State& state) {
  const Typical t;
  const auto built = BuildSpec(t.container, t.pod, t.image, t.pod_facts, t.facts, ThisHost());
  for (auto _ : state) benchmark::DoNotOptimize(CompilePlan(built->spec, t.input));
}
BENCHMARK(CompileOnly)->Unit(benchmark::kMicrosecond);

void CompileExec(benchmark::State& state) {
  const Typical t;
  const auto built = BuildSpec(t.container, t.pod, t.image, t.pod_facts, t.facts, ThisHost());
  for (auto _ : state) {
    const SpecProcess process = BuildExecProcess(built->spec, {"/bin/true"}, false);
    benchmark::DoNotOptimize(CompileExecPlan(built->spec, process, t.input));
  }
}
BENCHMARK(CompileExec)->Unit(benchmark::kMicrosecond);

void ParseConfigJson(benchmark::State& state) {
  const Typical t;
  const std::string text =
      SpecToJson(BuildSpec(t.container, t.pod, t.image, t.pod_facts, t.facts, ThisHost())->spec)
          .dump();
  for (auto _ : state) benchmark::DoNotOptimize(ParseSpec(text));
  state.counters["json_bytes"] = static_cast<double>(text.size());
}
BENCHMARK(ParseConfigJson)->Unit(benchmark::kMicrosecond);

void CompileFilterUncached(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(CompileSeccomp(*DefaultSeccompProfile(DefaultCapabilities())));
  }
}
BENCHMARK(CompileFilterUncached)->Unit(benchmark::kMicrosecond);

void InstallDefaultFilter(benchmark::State& state) {
  const SeccompFilter filter = *CompileSeccomp(*DefaultSeccompProfile(DefaultCapabilities()));
  for (auto _ : state) {
    int result[2];
    if (pipe(result) != 0) return state.SkipWithError("pipe");
    const pid_t pid = fork();
    if (pid == 0) {
      const sock_fprog program = {static_cast<unsigned short>(filter.program.size()),
                                  const_cast<sock_filter*>(filter.program.data())};
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      const double start = ThreadSeconds();
      const long error = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
      const double seconds = error != 0 ? -1 : ThreadSeconds() - start;
      _exit(write(result[1], &seconds, sizeof seconds) == sizeof seconds ? 0 : 1);
    }
    double seconds = 0;
    if (read(result[0], &seconds, sizeof seconds) != sizeof seconds || seconds < 0) {
      state.SkipWithError("seccomp");
    }
    waitpid(pid, nullptr, 0);
    close(result[0]);
    close(result[1]);
    state.SetIterationTime(seconds);
  }
  state.counters["instructions"] = static_cast<double>(filter.program.size());
}
BENCHMARK(InstallDefaultFilter)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(300);

}  // namespace
}  // namespace berth

BENCHMARK_MAIN();
