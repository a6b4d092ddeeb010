// The time that Add takes beyond the time of its plugins: the goal is at most 1 ms for a list of
// three.
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "server/network/cni_network.h"

namespace berth {
namespace {

std::string* plugin_path = nullptr;

constexpr int kRounds = 300;
constexpr int kPlugins = 3;

absl::Duration Percentile(std::vector<absl::Duration>* samples, int percent) {
  std::sort(samples->begin(), samples->end());
  return (*samples)[samples->size() * static_cast<size_t>(percent) / 100];
}

// The bare cost of the program: spawn and wait, its stdio on /dev/null.
absl::Duration BareRun() {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  char* argv[] = {plugin_path->data(), nullptr};
  char* environment[] = {nullptr};
  pid_t pid;
  const absl::Time start = absl::Now();
  EXPECT_EQ(posix_spawn(&pid, plugin_path->c_str(), &actions, nullptr, argv, environment), 0);
  int status = 0;
  waitpid(pid, &status, 0);
  const absl::Duration took = absl::Now() - start;
  EXPECT_EQ(status, 0);
  posix_spawn_file_actions_destroy(&actions);
  return took;
}

TEST(CniOverheadTest, AddCostsLittleBeyondItsPlugins) {
  const std::string root =
      absl::StrCat(testing::TempDir(), "/cni_overhead-", RandomHexId().substr(0, 12));
  ASSERT_TRUE(MakeDirectories(root + "/net.d", 0755).ok());
  ASSERT_TRUE(MakeDirectories(root + "/bin", 0755).ok());
  ASSERT_EQ(symlink(plugin_path->c_str(), (root + "/bin/instant").c_str()), 0);
  ASSERT_TRUE(WriteFileAtomically(root + "/net.d/10.conflist",
                                  R"({"cniVersion":"1.0.0","name":"n","plugins":[)"
                                  R"({"type":"instant"},{"type":"instant"},{"type":"instant"}]})",
                                  0644)
                  .ok());
  CniOptions options;
  options.config_directory = root + "/net.d";
  options.plugin_directories = {root + "/bin"};
  absl::Duration inside;
  options.observer = [&inside](absl::string_view, absl::string_view, absl::Duration took) {
    inside += took;
  };
  const std::unique_ptr<Network> network = NewCniNetwork(options);
  AttachRequest request;
  request.pod = NewPodId();
  request.netns_path = "/run/netns/x";
  std::vector<absl::Duration> beyond_bare;
  std::vector<absl::Duration> outside;
  std::vector<absl::Duration> total;
  for (int i = 0; i < kRounds; ++i) {
    absl::Duration bare;
    for (int j = 0; j < kPlugins; ++j) bare += BareRun();
    inside = absl::ZeroDuration();
    const absl::Time start = absl::Now();
    absl::StatusOr<Attachment> attachment = network->Prepare(request);
    ASSERT_TRUE(attachment.ok()) << attachment.status();
    ASSERT_TRUE(network->Add(&*attachment, absl::InfiniteFuture()).ok());
    const absl::Duration took = absl::Now() - start;
    total.push_back(took);
    outside.push_back(took - inside);
    beyond_bare.push_back(took - bare);
  }
  printf(
      "Prepare and Add of three plugins that do nothing: p50 %s, p99 %s\n"
      "  beyond spawn and wait of the bare programs: p10 %s, p50 %s\n"
      "  outside of running them (parsing and the like): p50 %s\n",
      absl::FormatDuration(Percentile(&total, 50)).c_str(),
      absl::FormatDuration(Percentile(&total, 99)).c_str(),
      absl::FormatDuration(Percentile(&beyond_bare, 10)).c_str(),
      absl::FormatDuration(Percentile(&beyond_bare, 50)).c_str(),
      absl::FormatDuration(Percentile(&outside, 50)).c_str());
  EXPECT_LT(Percentile(&beyond_bare, 50), absl::Milliseconds(1));
  EXPECT_TRUE(RemoveTree(root).ok());
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // A test starts in its runfiles.
  char* real = realpath("tests/network/instant_plugin", nullptr);
  if (real == nullptr) return 2;
  berth::plugin_path = new std::string(real);
  return RUN_ALL_TESTS();
}
