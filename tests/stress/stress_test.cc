// kubelet's load on the real daemon, and `kill -9` of the daemon at random instants under it: nothing
// is left of any kind, no name is stuck, no id is given twice.
//
// Seeded; the seed is printed. From the environment:
//   BERTH_STRESS_SEED     (default: the time)
//   BERTH_STRESS_SECONDS  of load without kills (default 10)
//   BERTH_STRESS_KILLS    of the daemon (default 15)
//   BERTH_STRESS_SANITIZED  set if the daemon is built with a sanitizer: its memory tells nothing then
#include <gmock/gmock.h>
#include <stdlib.h>

#include <algorithm>
#include <iostream>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"
#include "tests/stress/kubelet_load.h"

namespace berth::testing {
namespace {

using ::testing::IsEmpty;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

// Kills between two looks for leaks: a look waits until the load has ended and all is removed.
constexpr int kKillsPerRound = 25;

class StressTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(daemon_.WriteCniConfig());
    other_ = registry_.Image("other:1");
    // What stays by design is there before the first look: the bridge, lazily made directories, the
    // connection pools.
    ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPodOnceNetworkIsReady());
    ASSERT_OK(cri().RemovePod(pod.id));
    ASSERT_OK(cri().PullImage(other_));
    ASSERT_OK(cri().RemoveImage(other_));
    Restart();
    look_ = std::make_unique<LeakCheck>(std::vector<std::string>{
        daemon_.state(), daemon_.root() + "/snapshots", daemon_.root() + "/layers",
        daemon_.root() + "/blobs", daemon_.root() + "/trash"});
  }

  absl::StatusOr<TestPod> RunPodOnceNetworkIsReady() {
    cri::PodSandboxConfig config = Pod("first");
    absl::StatusOr<TestPod> pod = RunPod(config);
    for (int i = 0; i < 500 && !pod.ok(); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      pod = RunPod(config);
    }
    return pod;
  }

  LoadOptions Load(uint64_t seed, bool kills) {
    LoadOptions options;
    options.socket = daemon_.socket();
    options.image = image();
    options.other_image = other_;
    options.log_directory = daemon_.pod_logs();
    options.seed = seed;
    options.kills = kills;
    return options;
  }

  // The daemon is to live through it.
  void RunFor(KubeletLoad* load, absl::Duration duration) {
    const absl::Time end = absl::Now() + duration;
    load->Start();
    while (absl::Now() < end && daemon_.running()) absl::SleepFor(absl::Milliseconds(20));
    if (!daemon_.running()) load->Abandon();
    load->Stop();
    ASSERT_TRUE(daemon_.running()) << "it ended: wait status " << *daemon_.WaitForEnd();
    EXPECT_THAT(load->complaints(), IsEmpty());
  }

  void Report(const KubeletLoad& load) {
    std::string text;
    for (const auto& [what, count] : load.counts()) absl::StrAppend(&text, "  ", count, " ", what);
    std::cout << text << "\n";
  }

  int OpenFiles() {
    const auto names = ListDirectory(absl::StrCat("/proc/", daemon_.pid(), "/fd"));
    return names.ok() ? static_cast<int>(names->size()) : -1;
  }
  int64_t AnonymousKib() {
    const std::string text =
        Shell(absl::StrCat("awk '/^RssAnon/ { print $2 }' /proc/", daemon_.pid(), "/status"));
    int64_t kib = 0;
    EXPECT_TRUE(absl::SimpleAtoi(text, &kib)) << text;
    return kib;
  }
  int FewestFiles() {
    int fewest = OpenFiles();
    for (int i = 0; i < 100; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      fewest = std::min(fewest, OpenFiles());
    }
    return fewest;
  }
  // Connections that were closed take a while to go.
  static constexpr int kMostPathProcesses = 4;

  int SettledFiles(int wanted) {
    int files = OpenFiles();
    for (int i = 0; i < 1500 && files > wanted; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      files = OpenFiles();
    }
    return files;
  }

  void ExpectNothingLeft(const char* when) {
    ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
    EXPECT_THAT(pods, IsEmpty()) << when;
    ASSERT_OK_AND_ASSIGN(const auto containers, cri().ListContainers());
    EXPECT_THAT(containers, IsEmpty()) << when;
    // A creation that its caller left may still be at its undo.
    for (int i = 0; i < 2000 && Records() != "0 0 0\n"; ++i) absl::SleepFor(absl::Milliseconds(10));
    EXPECT_EQ(Records(), "0 0 0\n") << when;
    LeakCheck look = *look_;
    look.IgnoreProcess(daemon_.pid());
    for (const std::string& leak : look.Leaks(absl::Seconds(20)))
      ADD_FAILURE() << when << ": " << leak;
    EXPECT_EQ(Shell("cd " + daemon_.directory() + "/ipam/berth-test-a && ls | grep ^10 || true"),
              "");
  }
  // Pods in every state, containers and snapshots; also those that no list shows.
  std::string Records() {
    return Shell(absl::StrCat("sqlite3 -readonly -separator ' ' ", daemon_.root(),
                              "/state.db 'SELECT (SELECT count(*) FROM pods), ",
                              "(SELECT count(*) FROM containers), ",
                              "(SELECT count(*) FROM snapshots)'"));
  }

  const uint64_t seed_ =
      FromEnvironment("BERTH_STRESS_SEED", static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now())));
  std::string other_;
  std::unique_ptr<LeakCheck> look_;
};

TEST_F(StressTest, KubeletsPatternLeavesNothing) {
  const uint64_t seconds = FromEnvironment("BERTH_STRESS_SECONDS", 10);
  std::cout << "BERTH_STRESS_SEED=" << seed_ << "\n";
  {
    KubeletLoad warm_up(Load(seed_ + 1000000, false));
    RunFor(&warm_up, absl::Seconds(seconds / 4));
    ASSERT_FALSE(HasFailure());
  }
  const int files = FewestFiles();
  const int64_t memory = AnonymousKib();
  KubeletLoad load(Load(seed_, false));
  RunFor(&load, absl::Seconds(seconds));
  Report(load);
  ASSERT_TRUE(daemon_.running());
  ExpectNothingLeft("after the load");
  // And those of processes that wait for paths to open (runtime/path_process.h).
  EXPECT_LE(SettledFiles(files + kMostPathProcesses), files + kMostPathProcesses);
  if (getenv("BERTH_STRESS_SANITIZED") == nullptr) {
    // Roughly: what the allocator keeps varies.
    EXPECT_LT(AnonymousKib(), memory + 8 * 1024);
    RecordProperty("anonymous_kib_before", static_cast<int>(memory));
    RecordProperty("anonymous_kib_after", static_cast<int>(AnonymousKib()));
  }
}

TEST_F(StressTest, KillsOfTheDaemonAtRandomInstantsLeaveNothing) {
  const int kills = static_cast<int>(FromEnvironment("BERTH_STRESS_KILLS", 15));
  std::cout << "BERTH_STRESS_SEED=" << seed_ << "\n";
  std::mt19937_64 random(seed_);
  for (int done = 0; done < kills && !HasFailure();) {
    KubeletLoad load(Load(seed_ + static_cast<uint64_t>(done), true));
    load.Start();
    for (int i = 0; i < kKillsPerRound && done < kills; ++i, ++done) {
      // Mostly within the first steps after a start: recovery is to be hit, too.
      const uint64_t longest = random() % 4 == 0 ? 30'000 : 400'000;
      absl::SleepFor(absl::Microseconds(random() % longest));
      daemon_.Kill();
      // Some are killed before they serve.
      if (random() % 5 == 0) {
        ASSERT_OK(daemon_.Launch());
        absl::SleepFor(absl::Microseconds(random() % 60'000));
        daemon_.Kill();
        if (++done >= kills) i = kKillsPerRound;
      }
      ASSERT_OK(daemon_.Start());
    }
    load.Stop();
    EXPECT_THAT(load.complaints(), IsEmpty());
    Report(load);
    ExpectNothingLeft(absl::StrCat("after ", done, " kills").c_str());
  }
}

}  // namespace
}  // namespace berth::testing
