// Statistics and metrics of containers and pods, compared with the cgroups' own files.
#include <functional>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class StatsTest : public DaemonTest {
 protected:
  static bool Unified() { return ReadFile("/sys/fs/cgroup/cgroup.controllers").ok(); }
  // The file of a cgroup: `v1` as `controller/file`, `v2` as `file`.
  static std::string CgroupText(const std::string& cgroup, const std::string& v1,
                                const std::string& v2) {
    const size_t slash = v1.find('/');
    auto text = ReadFile(
        Unified() ? absl::StrCat("/sys/fs/cgroup", cgroup, "/", v2)
                  : absl::StrCat("/sys/fs/cgroup/", v1.substr(0, slash), cgroup, v1.substr(slash)));
    EXPECT_OK(text);
    return text.value_or("");
  }
  static uint64_t Number(const std::string& text) {
    uint64_t value = 0;
    EXPECT_TRUE(absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &value)) << text;
    return value;
  }
  static uint64_t Keyed(const std::string& text, const std::string& key) {
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      if (absl::StartsWith(line, key + " ")) return Number(std::string(line.substr(key.size())));
    }
    ADD_FAILURE() << "no " << key;
    return 0;
  }
  static uint64_t WorkingSetOf(const std::string& cgroup) {
    const uint64_t usage =
        Number(CgroupText(cgroup, "memory/memory.usage_in_bytes", "memory.current"));
    const uint64_t inactive = Keyed(CgroupText(cgroup, "memory/memory.stat", "memory.stat"),
                                    Unified() ? "inactive_file" : "total_inactive_file");
    return usage - std::min(usage, inactive);
  }

  absl::StatusOr<cri::ContainerStats> Stats(const std::string& id) {
    cri::ContainerStatsRequest request;
    request.set_container_id(id);
    auto answer = cri().Call(&CriClient::Runtime::ContainerStats, request);
    if (!answer.ok()) return answer.status();
    return answer->stats();
  }
  std::vector<std::string> List(const cri::ContainerStatsFilter& filter) {
    cri::ListContainerStatsRequest request;
    *request.mutable_filter() = filter;
    auto answer = cri().Call(&CriClient::Runtime::ListContainerStats, request);
    EXPECT_OK(answer);
    std::vector<std::string> ids;
    if (!answer.ok()) return ids;
    for (const cri::ContainerStats& stats : answer->stats()) ids.push_back(stats.attributes().id());
    return ids;
  }
  absl::StatusOr<cri::PodSandboxStats> PodStats(const std::string& id) {
    cri::PodSandboxStatsRequest request;
    request.set_pod_sandbox_id(id);
    auto answer = cri().Call(&CriClient::Runtime::PodSandboxStats, request);
    if (!answer.ok()) return answer.status();
    return answer->stats();
  }
  // Asks until `good`; a test failure if that never is.
  cri::ContainerStats WaitFor(const std::string& id,
                              const std::function<bool(const cri::ContainerStats&)>& good) {
    cri::ContainerStats last;
    for (const absl::Time end = absl::Now() + absl::Seconds(60); absl::Now() < end;) {
      auto stats = Stats(id);
      EXPECT_OK(stats);
      if (!stats.ok()) break;
      last = *stats;
      if (good(last)) return last;
      absl::SleepFor(absl::Milliseconds(20));
    }
    ADD_FAILURE() << "never: " << last.ShortDebugString();
    return last;
  }
  // Descriptors of the daemon whose path contains `text`.
  int Kept(const std::string& text) {
    return std::stoi(
        Shell(absl::StrCat("ls -l /proc/", daemon_.pid(), "/fd | grep -c ", text, " || true")));
  }
};

TEST_F(StatsTest, AContainersNumbersAreItsCgroups) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  cri::ContainerConfig config = ContainerConfig("c", {"sleep", "100000"});
  (*config.mutable_labels())["app"] = "stats";
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(64 << 20);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, config));
  Exec(id, "dd if=/dev/zero of=/tmp/file bs=1M count=3 2>/dev/null; cat /tmp/file >/dev/null");
  const std::string cgroup = absl::StrCat(TestCgroup(), "/pods/", id);
  // Nothing runs in it now: the numbers stand still (but the kernel's batches).
  const uint64_t before = WorkingSetOf(cgroup);
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStats stats, Stats(id));
  EXPECT_EQ(stats.attributes().id(), id);
  EXPECT_EQ(stats.attributes().metadata().name(), "c");
  EXPECT_EQ(stats.attributes().labels().at("app"), "stats");
  EXPECT_NEAR(static_cast<double>(stats.memory().working_set_bytes().value()),
              static_cast<double>(before), 1 << 20);
  EXPECT_GT(stats.memory().usage_bytes().value(), 3u << 20) << "the page cache counts";
  EXPECT_LT(stats.memory().rss_bytes().value(), 3u << 20) << "and is not resident memory";
  EXPECT_EQ(stats.memory().available_bytes().value() + stats.memory().working_set_bytes().value(),
            64u << 20);
  EXPECT_GT(stats.memory().page_faults().value(), 0u);
  const std::string cpu = CgroupText(cgroup, "cpuacct/cpuacct.usage", "cpu.stat");
  const uint64_t used = Unified() ? Keyed(cpu, "usage_usec") * 1000 : Number(cpu);
  EXPECT_GT(stats.cpu().usage_core_nano_seconds().value(), 0u);
  EXPECT_LE(stats.cpu().usage_core_nano_seconds().value(), used);
  EXPECT_FALSE(stats.cpu().has_usage_nano_cores()) << "there was no sample before";
  EXPECT_GT(stats.cpu().timestamp(), absl::ToUnixNanos(absl::Now() - absl::Minutes(5)));
}

TEST_F(StatsTest, WithoutALimitNothingIsSaidToBeAvailable) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStats stats, Stats(id));
  EXPECT_TRUE(stats.memory().has_working_set_bytes());
  EXPECT_FALSE(stats.memory().has_available_bytes());
}

TEST_F(StatsTest, NanoCoresAreTheRateBetweenSamples) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(
      const std::string busy,
      CreateAndStart(pod, ContainerConfig("busy", {"sh", "-c", "while :; do :; done"})));
  ASSERT_OK_AND_ASSIGN(const std::string idle, Sleeper(pod));
  WaitFor(busy, [](const cri::ContainerStats& stats) {
    return stats.cpu().usage_nano_cores().value() > 10'000'000;
  });
  WaitFor(idle, [](const cri::ContainerStats& stats) {
    return stats.cpu().has_usage_nano_cores() &&
           stats.cpu().usage_nano_cores().value() < 10'000'000;
  });
}

TEST_F(StatsTest, TheWritableLayerIsMeasuredInTheBackground) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  Exec(id, "dd if=/dev/zero of=/written bs=1M count=4 2>/dev/null; touch /one /two");
  const cri::ContainerStats stats = WaitFor(id, [](const cri::ContainerStats& asked) {
    return asked.writable_layer().used_bytes().value() >= 4u << 20;
  });
  EXPECT_GE(stats.writable_layer().inodes_used().value(), 3u);
  auto filesystem = cri().Call(&CriClient::Images::ImageFsInfo, cri::ImageFsInfoRequest());
  ASSERT_OK(filesystem);
  EXPECT_EQ(stats.writable_layer().fs_id().mountpoint(),
            filesystem->container_filesystems(0).fs_id().mountpoint());
}

TEST_F(StatsTest, OnlyRunningContainersAndReadyPodsHaveThem) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string created, Create(pod, ContainerConfig("new", {"true"})));
  ASSERT_OK_AND_ASSIGN(const std::string running, Sleeper(pod, "running"));
  ASSERT_OK_AND_ASSIGN(const std::string exited, Sleeper(pod, "exited"));
  ASSERT_OK(Stats(exited));
  ASSERT_OK(cri().StopContainer(exited, 0));
  EXPECT_THAT(List({}), ElementsAre(running));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, Stats(created));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, Stats(exited));
  EXPECT_CODE(absl::StatusCode::kNotFound, Stats(std::string(64, 'f')));
  EXPECT_CODE(absl::StatusCode::kInvalidArgument, Stats(""));
  ASSERT_OK(PodStats(pod.id));
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_CODE(absl::StatusCode::kFailedPrecondition, PodStats(pod.id));
  EXPECT_CODE(absl::StatusCode::kNotFound, PodStats(std::string(64, 'f')));
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().Call(&CriClient::Runtime::ListPodSandboxStats,
                                                   cri::ListPodSandboxStatsRequest()));
  EXPECT_EQ(pods.stats_size(), 0);
}

TEST_F(StatsTest, Filters) {
  std::string ids[3];
  TestPod pods[3];
  for (int i = 0; i < 3; ++i) {
    cri::PodSandboxConfig pod = PodConfig(absl::StrCat("pod-", i));
    (*pod.mutable_labels())["index"] = absl::StrCat(i);
    ASSERT_OK_AND_ASSIGN(pods[i], RunPod(pod));
    cri::ContainerConfig config = ContainerConfig("c", {"sleep", "1000"});
    (*config.mutable_labels())["index"] = absl::StrCat(i);
    ASSERT_OK_AND_ASSIGN(ids[i], CreateAndStart(pods[i], config));
  }
  EXPECT_THAT(List({}), UnorderedElementsAre(ids[0], ids[1], ids[2]));
  cri::ContainerStatsFilter filter;
  filter.set_id(ids[1].substr(0, 13));
  EXPECT_THAT(List(filter), ElementsAre(ids[1]));
  filter.Clear();
  filter.set_pod_sandbox_id(pods[2].id);
  EXPECT_THAT(List(filter), ElementsAre(ids[2]));
  filter.Clear();
  (*filter.mutable_label_selector())["index"] = "0";
  EXPECT_THAT(List(filter), ElementsAre(ids[0]));
  filter.set_id("nobody");
  EXPECT_THAT(List(filter), IsEmpty());
  cri::ListPodSandboxStatsRequest request;
  (*request.mutable_filter()->mutable_label_selector())["index"] = "1";
  ASSERT_OK_AND_ASSIGN(const auto answer,
                       cri().Call(&CriClient::Runtime::ListPodSandboxStats, request));
  ASSERT_EQ(answer.stats_size(), 1);
  EXPECT_EQ(answer.stats(0).attributes().id(), pods[1].id);
  EXPECT_EQ(answer.stats(0).linux().containers(0).attributes().id(), ids[1]);
}

TEST_F(StatsTest, APodWithACgroupOfItsOwnCountsAllThatRunsThere) {
  cri::PodSandboxConfig config = PodConfig("pod");
  config.mutable_linux()->set_cgroup_parent(TestCgroup() + "/pod-own");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string a, Sleeper(pod, "a"));
  ASSERT_OK_AND_ASSIGN(const std::string b, Sleeper(pod, "b"));
  ASSERT_OK_AND_ASSIGN(const cri::PodSandboxStats stats, PodStats(pod.id));
  EXPECT_EQ(stats.attributes().metadata().name(), "pod");
  EXPECT_EQ(stats.linux().containers_size(), 2);
  EXPECT_EQ(stats.linux().process().process_count().value(), 2u);
  EXPECT_NEAR(static_cast<double>(stats.linux().memory().working_set_bytes().value()),
              static_cast<double>(WorkingSetOf(TestCgroup() + "/pod-own")), 1 << 20);
  EXPECT_GT(stats.linux().cpu().usage_core_nano_seconds().value(), 0u);
  EXPECT_FALSE(stats.linux().has_network()) << "it has the host's";
  // It goes with the containers' cgroups; the parent was made for this test alone.
  ASSERT_OK(cri().RemovePod(pod.id));
  Shell("find /sys/fs/cgroup -depth -type d -path '*" + TestCgroup() +
        "/pod-own*' -exec rmdir {} +");
}

TEST_F(StatsTest, PodsThatShareACgroupAreTheSumOfTheirContainers) {
  ASSERT_OK_AND_ASSIGN(const TestPod one, RunPod("one"));
  ASSERT_OK_AND_ASSIGN(const TestPod other, RunPod("other"));
  ASSERT_OK(Sleeper(one, "a"));
  ASSERT_OK(Sleeper(one, "b"));
  ASSERT_OK(Sleeper(other, "c"));
  ASSERT_OK_AND_ASSIGN(const cri::PodSandboxStats stats, PodStats(one.id));
  EXPECT_EQ(stats.linux().process().process_count().value(), 2u);
  uint64_t cpu = 0;
  for (const cri::ContainerStats& container : stats.linux().containers()) {
    cpu += container.cpu().usage_core_nano_seconds().value();
  }
  EXPECT_EQ(stats.linux().cpu().usage_core_nano_seconds().value(), cpu);
}

TEST_F(StatsTest, ThePodsNetwork) {
  ASSERT_OK(daemon_.WriteCniConfig());
  cri::PodSandboxConfig config = Pod("pod");
  config.set_log_directory(daemon_.pod_logs() + "/pod");
  absl::StatusOr<TestPod> pod = RunPod(config);
  for (const absl::Time end = absl::Now() + absl::Seconds(10); !pod.ok() && absl::Now() < end;) {
    absl::SleepFor(absl::Milliseconds(50));  // the configuration has not been noticed yet
    pod = RunPod(config);
  }
  ASSERT_OK(pod);
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(*pod));
  ASSERT_OK_AND_ASSIGN(const cri::PodSandboxStats before, PodStats(pod->id));
  ASSERT_EQ(before.linux().network().default_interface().name(), "eth0");
  Exec(id, "ping -c 3 -W 5 -s 1000 10.77.0.1 >/dev/null");
  ASSERT_OK_AND_ASSIGN(const cri::PodSandboxStats after, PodStats(pod->id));
  const cri::NetworkInterfaceUsage& now = after.linux().network().default_interface();
  const cri::NetworkInterfaceUsage& then = before.linux().network().default_interface();
  EXPECT_GE(now.tx_bytes().value(), then.tx_bytes().value() + 3000);
  EXPECT_GE(now.rx_bytes().value(), then.rx_bytes().value() + 3000);
  EXPECT_EQ(after.linux().network().interfaces_size(), 1);
  // The namespace is not held beyond the pod.
  EXPECT_EQ(Kept("net/dev"), 1);
  ASSERT_OK(cri().StopPod(pod->id));
  EXPECT_EQ(Kept("net/dev"), 0);
}

TEST_F(StatsTest, DescriptorsAreKeptAndGivenBack) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_EQ(Kept(id), 0) << "nobody asked yet";
  ASSERT_OK(Stats(id));
  const int kept = Kept(id);
  EXPECT_GT(kept, 0);
  for (int i = 0; i < 5; ++i) ASSERT_OK(Stats(id));
  EXPECT_EQ(Kept(id), kept);
  ASSERT_OK(cri().StopContainer(id, 0));
  EXPECT_EQ(Kept(id), 0);
}

TEST_F(StatsTest, Metrics) {
  cri::PodSandboxConfig config = PodConfig("pod");
  config.mutable_linux()->set_cgroup_parent(TestCgroup() + "/pod-own");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  cri::ContainerConfig limited = ContainerConfig("limited", {"sleep", "100000"});
  SetLimits(&limited);
  ASSERT_OK_AND_ASSIGN(const std::string id, CreateAndStart(pod, limited));
  ASSERT_OK_AND_ASSIGN(
      const auto descriptors,
      cri().Call(&CriClient::Runtime::ListMetricDescriptors, cri::ListMetricDescriptorsRequest()));
  std::map<std::string, const cri::MetricDescriptor*> described;
  for (const cri::MetricDescriptor& descriptor : descriptors.descriptors()) {
    described[descriptor.name()] = &descriptor;
  }
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().Call(&CriClient::Runtime::ListPodSandboxMetrics,
                                                     cri::ListPodSandboxMetricsRequest()));
  ASSERT_EQ(answer.pod_metrics_size(), 1);
  const cri::PodSandboxMetrics& metrics = answer.pod_metrics(0);
  EXPECT_EQ(metrics.pod_sandbox_id(), pod.id);
  ASSERT_EQ(metrics.container_metrics_size(), 1);
  EXPECT_EQ(metrics.container_metrics(0).container_id(), id);
  const std::map<std::string, std::string> labels = {
      {"container", "limited"}, {"id", TestCgroup() + "/pod-own/" + id},
      {"image", image()},       {"name", id},
      {"namespace", "default"}, {"pod", "pod"}};
  std::map<std::string, cri::Metric> of_container;
  for (const cri::Metric& metric : metrics.container_metrics(0).metrics()) {
    ASSERT_TRUE(described.contains(metric.name())) << metric.name();
    const cri::MetricDescriptor& descriptor = *described[metric.name()];
    ASSERT_EQ(metric.label_values_size(), descriptor.label_keys_size()) << metric.name();
    for (int i = 0; i < descriptor.label_keys_size(); ++i) {
      const std::string& key = descriptor.label_keys(i);
      const std::string& value = metric.label_values(i);
      if (const auto label = labels.find(key); label != labels.end()) {
        EXPECT_EQ(value, label->second) << key;
      }
    }
    of_container[metric.name()] = metric;
  }
  for (const char* name :
       {"container_cpu_usage_seconds_total", "container_cpu_user_seconds_total",
        "container_cpu_cfs_throttled_seconds_total", "container_memory_working_set_bytes",
        "container_memory_cache", "container_memory_failures_total", "container_oom_events_total",
        "container_last_seen", "container_start_time_seconds", "container_fs_limit_bytes",
        "container_ulimits_soft"}) {
    EXPECT_TRUE(of_container.contains(name)) << name;
  }
  EXPECT_EQ(of_container["container_processes"].value().value(), 1u);
  EXPECT_GE(of_container["container_file_descriptors"].value().value(), 3u);
  EXPECT_EQ(of_container["container_sockets"].value().value(), 0u);
  EXPECT_EQ(of_container["container_spec_memory_limit_bytes"].value().value(), 128u << 20);
  EXPECT_EQ(of_container["container_spec_cpu_quota"].value().value(), 50000u);
  EXPECT_EQ(of_container["container_memory_usage_bytes"].metric_type(), cri::GAUGE);
  bool pod_memory = false;
  for (const cri::Metric& metric : metrics.metrics()) {
    pod_memory = pod_memory || metric.name() == "container_memory_working_set_bytes";
  }
  EXPECT_TRUE(pod_memory) << "the pod has a cgroup of its own";
  ASSERT_OK(cri().RemovePod(pod.id));
  Shell("find /sys/fs/cgroup -depth -type d -path '*" + TestCgroup() +
        "/pod-own*' -exec rmdir {} +");
}

TEST_F(StatsTest, StreamsSayWhatListsSay) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  {
    grpc::ClientContext context;
    auto reader =
        cri().runtime().StreamContainerStats(&context, cri::StreamContainerStatsRequest());
    cri::StreamContainerStatsResponse response;
    ASSERT_TRUE(reader->Read(&response));
    ASSERT_EQ(response.container_stats_size(), 1);
    EXPECT_EQ(response.container_stats(0).attributes().id(), id);
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    auto reader =
        cri().runtime().StreamPodSandboxStats(&context, cri::StreamPodSandboxStatsRequest());
    cri::StreamPodSandboxStatsResponse response;
    ASSERT_TRUE(reader->Read(&response));
    ASSERT_EQ(response.pod_sandbox_stats_size(), 1);
    EXPECT_EQ(response.pod_sandbox_stats(0).attributes().id(), pod.id);
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_TRUE(reader->Finish().ok());
  }
  grpc::ClientContext context;
  auto reader =
      cri().runtime().StreamPodSandboxMetrics(&context, cri::StreamPodSandboxMetricsRequest());
  cri::StreamPodSandboxMetricsResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ASSERT_EQ(response.pod_sandbox_metrics_size(), 1);
  EXPECT_EQ(response.pod_sandbox_metrics(0).container_metrics_size(), 1);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StatsTest, NumbersGoOnAfterARestart) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("pod"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStats before, Stats(id));
  Restart();
  ASSERT_OK_AND_ASSIGN(const cri::ContainerStats after, Stats(id));
  EXPECT_GE(after.cpu().usage_core_nano_seconds().value(),
            before.cpu().usage_core_nano_seconds().value());
  EXPECT_TRUE(after.memory().has_working_set_bytes());
}

}  // namespace
}  // namespace berth::testing
