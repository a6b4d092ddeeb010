// What the runtime's root tests share: a launcher, a pod with a keeper, plans for the guest.
#ifndef BERTH_TESTS_RUNTIME_FIXTURE_H_
#define BERTH_TESTS_RUNTIME_FIXTURE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/keeper_client.h"
#include "runtime/plan_builder.h"

namespace berth {

// Collects what the watcher tells.
class Exits : public KeeperObserver {
 public:
  void OnExit(const PodId& pod, const ContainerId& container, const ExitRecord& record) override;
  void OnKeeperDeath(const PodId& pod) override;
  // Waits up to ten seconds; fails the test otherwise.
  ExitRecord WaitForExit(const ContainerId& id);
  void WaitForDeath(const PodId& pod);

 private:
  Mutex mu_;
  CondVar changed_;
  std::vector<std::pair<ContainerId, ExitRecord>> exits_ ABSL_GUARDED_BY(mu_);
  std::vector<PodId> deaths_ ABSL_GUARDED_BY(mu_);
};

absl::Time Soon();  // ten seconds from now
const std::string& GuestPath();
const std::string& KeeperPath();

// A directory with a rootfs that holds /guest, /etc/passwd and /etc/group; cgroups below /berth-test-PID.
class RuntimeTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;  // and checks that nothing is left

  // With ipc and uts namespaces of its own, the host's network.
  KeeperOptions Options();
  void StartKeeper(const KeeperOptions& options);

  // A plan over the directory rootfs (or an overlay on it) with proc, dev, devpts, shm, mqueue, sysfs.
  PlanContents Contents(std::vector<std::string> argv);
  static void UseOverlay(PlanContents* contents, const std::string& dir);
  // Creates, starts with a log file, waits for the exit.
  ExitRecord RunToExit(const ContainerId& id, const PlanContents& contents);
  absl::Status CreateAndStart(const ContainerId& id, const PlanContents& contents);
  std::string Log(const ContainerId& id);                              // as written
  std::string Output(const ContainerId& id);                           // without the prefixes
  void WaitForOutput(const ContainerId& id, const std::string& text);  // fails after ten seconds
  UniqueFd OpenLog(const ContainerId& id);
  static PlanContents ExecContents(std::vector<std::string> argv);

  std::string dir_;
  std::string rootfs_;
  std::string state_;
  std::vector<PlanContents::Cgroup> cgroups_;
  std::vector<std::string> cgroup_dirs_;
  Exits exits_;
  std::unique_ptr<KeeperLauncher> launcher_;
  std::unique_ptr<KeeperWatcher> watcher_;
  std::shared_ptr<Keeper> keeper_;
  PodId pod_{"pod1"};
};

// The value of `key=` in the guest's facts; all of them joined by newlines if repeated.
std::string Fact(const std::string& output, const std::string& key);

}  // namespace berth

#endif  // BERTH_TESTS_RUNTIME_FIXTURE_H_
