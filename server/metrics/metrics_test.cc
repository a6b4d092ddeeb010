#include "server/metrics/metrics.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"

namespace berth {
namespace {

bool HasLine(const std::string& text, absl::string_view line) {
  return absl::StrContains(absl::StrCat("\n", text), absl::StrCat("\n", line, "\n"));
}

void UseEverything(Metrics* metrics) {
  metrics->AddExit("Completed", false);
  metrics->SetStateSource([] {
    return StateCounts{.pods = {{"ready", 3}},
                       .containers = {{"running", 4}},
                       .images = 5,
                       .keepers = {{"connected", 3}},
                       .stream_connections = 2,
                       .stream_sessions = {{"exec", 7}},
                       .stream_refusals = {{"404", 8}}};
  });
  metrics->Rpc("RunPodSandbox")->Observe(absl::Milliseconds(3), absl::StatusCode::kOk);
  metrics->Rpc("RunPodSandbox")->Observe(absl::Milliseconds(3), absl::StatusCode::kNotFound);
  metrics->Observe(PodPhase::kCni, absl::Milliseconds(40));
  metrics->Observe(ContainerPhase::kCommit, absl::Microseconds(40));
  metrics->Observe(ImagePullPhase::kCommit, absl::Seconds(40));
  metrics->ObserveExec(absl::Seconds(1), true);
  metrics->AddPulledBytes(1234);
  metrics->AddReusedLayer();
}

TEST(MetricsTest, RpcsAreCountedByMethodAndCode) {
  Metrics metrics;
  UseEverything(&metrics);
  const std::string text = metrics.Serialize();
  EXPECT_TRUE(HasLine(text, "berth_rpc_duration_seconds_count{method=\"RunPodSandbox\"} 2"))
      << text;
  EXPECT_TRUE(
      HasLine(text, "berth_rpc_errors_total{method=\"RunPodSandbox\",code=\"NOT_FOUND\"} 1") ||
      HasLine(text, "berth_rpc_errors_total{code=\"NOT_FOUND\",method=\"RunPodSandbox\"} 1"))
      << text;
  EXPECT_EQ(metrics.Rpc("RunPodSandbox"), metrics.Rpc("RunPodSandbox"));
}

TEST(MetricsTest, PhasesCarryTheirNames) {
  Metrics metrics;
  UseEverything(&metrics);
  const std::string text = metrics.Serialize();
  EXPECT_TRUE(HasLine(text, "berth_pod_start_phase_seconds_count{phase=\"cni\"} 1"));
  EXPECT_TRUE(HasLine(text, "berth_pod_start_phase_seconds_count{phase=\"commit\"} 0"));
  EXPECT_TRUE(HasLine(text, "berth_container_start_phase_seconds_count{phase=\"commit\"} 1"));
  EXPECT_TRUE(HasLine(text, "berth_image_pull_phase_seconds_count{phase=\"commit\"} 1"));
  EXPECT_TRUE(HasLine(text, "berth_image_pulled_bytes_total 1234"));
  EXPECT_TRUE(HasLine(text, "berth_exec_timeouts_total 1"));
}

TEST(MetricsTest, StatesAreAskedForAtEachScrape) {
  Metrics metrics;
  int asked = 0;
  metrics.SetStateSource([&asked] { return StateCounts{.pods = {{"ready", ++asked}}}; });
  EXPECT_EQ(asked, 0);
  EXPECT_TRUE(HasLine(metrics.Serialize(), "berth_pods{state=\"ready\"} 1"));
  const std::string text = metrics.Serialize();
  EXPECT_TRUE(HasLine(text, "berth_pods{state=\"ready\"} 2"));
  EXPECT_TRUE(HasLine(text, "berth_pods{state=\"notready\"} 0"));
}

TEST(MetricsTest, StreamsAreCounted) {
  Metrics metrics;
  UseEverything(&metrics);
  const std::string text = metrics.Serialize();
  EXPECT_TRUE(HasLine(text, "berth_stream_connections 2"));
  EXPECT_TRUE(HasLine(text, "berth_stream_sessions_total{kind=\"exec\"} 7"));
  EXPECT_TRUE(HasLine(text, "berth_stream_sessions_total{kind=\"attach\"} 0"));
  EXPECT_TRUE(HasLine(text, "berth_stream_refusals_total{code=\"404\"} 8"));
}

TEST(MetricsTest, APhaseTimerObservesOnce) {
  Metrics metrics;
  {
    PhaseTimer timer(&metrics, PodPhase::kNetns);
    timer.Done();
    PhaseTimer unused(static_cast<Metrics*>(nullptr), PodPhase::kNetns);
  }
  EXPECT_TRUE(
      HasLine(metrics.Serialize(), "berth_pod_start_phase_seconds_count{phase=\"netns\"} 1"));
}

TEST(MetricsTest, ManyThreadsObserveAtOnce) {
  Metrics metrics;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&metrics] {
      for (int j = 0; j < 500; ++j) {
        metrics.Rpc("Status")->Observe(absl::Microseconds(j), absl::StatusCode::kInternal);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(
      HasLine(metrics.Serialize(), "berth_rpc_duration_seconds_count{method=\"Status\"} 2000"));
}

TEST(MetricsTest, TheDocumentListsExactlyTheSeriesThatThereAre) {
  Metrics metrics;
  UseEverything(&metrics);
  std::set<std::string> served, documented;
  for (absl::string_view line : absl::StrSplit(metrics.Serialize(), '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() == 4 && words[1] == "TYPE") served.insert(words[2] + " " + words[3]);
  }
  const absl::StatusOr<std::string> document = ReadFile("docs/metrics.md");
  ASSERT_TRUE(document.ok()) << document.status();
  for (absl::string_view line : absl::StrSplit(*document, '\n')) {
    const std::vector<std::string> cells = absl::StrSplit(line, absl::ByAnyChar("|"));
    if (cells.size() < 4 || !absl::StartsWith(cells[1], " `")) continue;
    const std::string name = cells[1].substr(2, cells[1].size() - 4);
    documented.insert(name + cells[2].substr(0, cells[2].size() - 1));
  }
  EXPECT_EQ(served, documented);
  EXPECT_GT(served.size(), 15u);
}

}  // namespace
}  // namespace berth
