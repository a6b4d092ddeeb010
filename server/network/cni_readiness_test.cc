#include "server/network/cni_readiness.h"

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

// A plugin that answers when it is told to.
struct Plugin {
  Mutex mu;
  CondVar changed;
  bool hangs ABSL_GUARDED_BY(mu) = false;
  absl::Status answer ABSL_GUARDED_BY(mu);
  std::atomic<int> asked{0};

  absl::Status Answer() {
    ++asked;
    MutexLock lock(&mu);
    while (hangs) changed.Wait(&mu);
    return answer;
  }
  void Set(bool hang, absl::Status status) {
    MutexLock lock(&mu);
    hangs = hang;
    answer = std::move(status);
    changed.SignalAll();
  }
};

class CniReadinessTest : public testing::Test {
 protected:
  CniReadiness Make(CniReadiness::Times times) {
    return CniReadiness([plugin = plugin_](const CniConfigList&) { return plugin->Answer(); },
                        times);
  }
  static CniReadiness::List List() { return std::make_shared<CniConfigList>(); }

  const std::shared_ptr<Plugin> plugin_ = std::make_shared<Plugin>();
};

constexpr CniReadiness::Times kForever = {absl::Hours(1), absl::Hours(1), absl::Seconds(20)};
constexpr CniReadiness::Times kNoMemory = {absl::ZeroDuration(), absl::ZeroDuration(),
                                           absl::Seconds(20)};

TEST_F(CniReadinessTest, AFreshAnswerIsNotAskedForAgain) {
  CniReadiness readiness = Make(kForever);
  const auto list = List();
  EXPECT_TRUE(readiness.Of(list).ok());
  plugin_->Set(false, absl::FailedPreconditionError("no addresses"));
  EXPECT_TRUE(readiness.Of(list).ok());
  EXPECT_EQ(plugin_->asked, 1);
}

TEST_F(CniReadinessTest, AnOldAnswerIsReplaced) {
  CniReadiness readiness = Make(kNoMemory);
  const auto list = List();
  EXPECT_TRUE(readiness.Of(list).ok());
  plugin_->Set(false, absl::FailedPreconditionError("no addresses"));
  EXPECT_EQ(readiness.Of(list).message(), "no addresses");
  plugin_->Set(false, absl::OkStatus());
  EXPECT_TRUE(readiness.Of(list).ok());
}

TEST_F(CniReadinessTest, ANewConfigurationIsAskedAbout) {
  CniReadiness readiness = Make(kForever);
  EXPECT_TRUE(readiness.Of(List()).ok());
  plugin_->Set(false, absl::FailedPreconditionError("no addresses"));
  EXPECT_FALSE(readiness.Of(List()).ok());
}

TEST_F(CniReadinessTest, AHungPluginIsNotWaitedFor) {
  CniReadiness readiness =
      Make({absl::ZeroDuration(), absl::ZeroDuration(), absl::Milliseconds(10)});
  const auto list = List();
  plugin_->Set(true, absl::OkStatus());
  EXPECT_TRUE(absl::IsUnavailable(readiness.Of(list)));
  EXPECT_TRUE(absl::IsUnavailable(readiness.Of(list)));
  EXPECT_EQ(plugin_->asked, 1);  // one question at a time
  plugin_->Set(false, absl::OkStatus());
}

TEST_F(CniReadinessTest, ALateAnswerAboutAnOldConfigurationIsDropped) {
  CniReadiness readiness = Make({absl::Hours(1), absl::Hours(1), absl::Milliseconds(10)});
  plugin_->Set(true, absl::FailedPreconditionError("old"));
  EXPECT_TRUE(absl::IsUnavailable(readiness.Of(List())));
  plugin_->Set(false, absl::OkStatus());
  const auto list = List();
  absl::Status status = readiness.Of(list);
  while (absl::IsUnavailable(status)) status = readiness.Of(list);
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace berth
