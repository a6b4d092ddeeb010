// /metrics: the series, promtool's check, a real Prometheus.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class MetricsTest : public DaemonTest {
 protected:
  std::string Scrape() {
    auto text = HttpGet(absl::StrCat("http://", daemon_.metrics_address(), "/metrics"));
    EXPECT_OK(text);
    return text.value_or("");
  }
  // The number of series, comments aside.
  static int Series(const std::string& text) {
    int count = 0;
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      count += !line.empty() && line[0] != '#';
    }
    return count;
  }
  void OneLife(const std::string& name) {
    ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(name));
    ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
    Exec(id, "true");
    ASSERT_OK(cri().StopContainer(id, 0));
    ASSERT_OK(cri().RemoveContainer(id));
    ASSERT_OK(cri().StopPod(pod.id));
    ASSERT_OK(cri().RemovePod(pod.id));
  }
};

TEST_F(MetricsTest, RpcsPhasesCountsAndTheProcess) {
  OneLife("measured");
  cri().ContainerStatus(std::string(64, 'e')).status().IgnoreError();
  const std::string text = Scrape();
  for (const char* part :
       {"# HELP", "# TYPE", "_bucket{", "le=\"+Inf\"", "RunPodSandbox", "CreateContainer",
        "StartContainer", "ExecSync", "PullImage", "NOT_FOUND", "process_resident_memory_bytes",
        "process_cpu_seconds_total", "process_open_fds"}) {
    EXPECT_TRUE(absl::StrContains(text, part)) << "no " << part << " in /metrics";
  }
}

TEST_F(MetricsTest, CountsFollowTheState) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("counted"));
  ASSERT_OK(Sleeper(pod));
  ASSERT_OK(Create(pod, ContainerConfig("gated", {"true"})));
  const std::string text = Scrape();
  const auto value = [&](const std::string& series) -> std::string {
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      if (absl::StartsWith(line, series)) {
        return std::string(line.substr(line.rfind(' ') + 1));
      }
    }
    return "absent: " + series;
  };
  EXPECT_EQ(value("berth_pods{state=\"ready\"}"), "1");
  EXPECT_EQ(value("berth_containers{state=\"running\"}"), "1");
  EXPECT_EQ(value("berth_containers{state=\"created\"}"), "1");
  EXPECT_EQ(value("berth_keepers"), "1");
  EXPECT_EQ(value("berth_images"), "1");
}

TEST_F(MetricsTest, PromtoolFindsNothing) {
  OneLife("linted");
  const std::string file = daemon_.directory() + "/metrics.txt";
  ASSERT_OK(WriteFileAtomically(file, Scrape(), 0644));
  ASSERT_OK_AND_ASSIGN(const CommandResult result,
                       RunCommand({"sh", "-c", "promtool check metrics < " + file}));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(result.output, "");
}

TEST_F(MetricsTest, SeriesDontGrowWithContainers) {
  OneLife("first");
  const int before = Series(Scrape());
  for (int i = 0; i < 5; ++i) OneLife(absl::StrCat("another-", i));
  EXPECT_EQ(Series(Scrape()), before);
}

TEST_F(MetricsTest, ARealPrometheusScrapesIt) {
  OneLife("scraped");
  const std::string directory = daemon_.directory() + "/prometheus";
  ASSERT_OK(MakeDirectories(directory, 0755));
  ASSERT_OK(WriteFileAtomically(
      directory + "/prometheus.yml",
      absl::StrCat("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n"
                   "- job_name: berth\n  static_configs: [{targets: ['",
                   daemon_.metrics_address(), "']}]\n"),
      0644));
  ASSERT_OK_AND_ASSIGN(
      auto prometheus,
      Program::Start(
          {"prometheus", "--config.file=" + directory + "/prometheus.yml",
           "--storage.tsdb.path=" + directory + "/data", "--web.listen-address=127.0.0.1:9090"},
          directory + "/log"));
  const auto query = [](const std::string& expression) {
    auto answer = RunCommand({"curl", "-s", "--noproxy", "*", "-G", "--data-urlencode",
                              "query=" + expression, "http://127.0.0.1:9090/api/v1/query"});
    return answer.ok() ? answer->output : answer.status().ToString();
  };
  std::string up;
  for (int i = 0; i < 150 && !absl::StrContains(up, "\"1\""); ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    up = query("up{job=\"berth\"}");
  }
  EXPECT_TRUE(absl::StrContains(up, "\"1\"")) << up;
  // A histogram that PromQL can work with.
  const std::string quantile = query(
      "histogram_quantile(0.5, sum by (le) "
      "({__name__=~\"berth_.*_bucket\",method=\"RunPodSandbox\"}))");
  EXPECT_TRUE(absl::StrContains(quantile, "\"value\"")) << quantile;
}

TEST_F(MetricsTest, OtherPathsAndMethodsAreRefused) {
  const std::string url = absl::StrCat("http://", daemon_.metrics_address());
  EXPECT_EQ(Shell("curl -s -o /dev/null -w '%{http_code}' --noproxy '*' " + url + "/nothing"),
            "404");
  const std::string post =
      Shell("curl -s -o /dev/null -w '%{http_code}' --noproxy '*' -X POST " + url + "/metrics");
  EXPECT_TRUE(post == "405" || post == "404") << post;
  // Garbage and a client that says nothing hurt nobody.
  Shell(
      "printf '\\0\\1\\2garbage\\r\\n\\r\\n' | timeout 2 busybox nc 127.0.0.1 9626 > /dev/null || "
      "true");
  EXPECT_NE(Scrape(), "");
}

}  // namespace
}  // namespace berth::testing
