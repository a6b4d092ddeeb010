#include "server/cri/filters.h"

#include <map>
#include <set>
#include <string>

#include "base/ids.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

bool MatchesTheContainer(const cri::ContainerFilter& filter) {
  LabelMap labels;
  labels["app"] = "web";
  labels["tier"] = "front";
  return Matches(filter, "c1", "p1", cri::CONTAINER_RUNNING, labels);
}

TEST(Filters, AnEmptyFilterMatchesAll) {
  EXPECT_TRUE(MatchesTheContainer(cri::ContainerFilter()));
  EXPECT_TRUE(Matches(cri::PodSandboxFilter(), "p1", cri::SANDBOX_READY, LabelMap()));
  EXPECT_TRUE(Matches(cri::PodSandboxStatsFilter(), "p1", LabelMap()));
  EXPECT_TRUE(Matches(cri::ContainerStatsFilter(), "c1", "p1", LabelMap()));
}

TEST(Filters, EveryPartOfAContainerFilterCounts) {
  cri::ContainerFilter filter;
  filter.set_id("c1");
  filter.set_pod_sandbox_id("p1");
  filter.mutable_state()->set_state(cri::CONTAINER_RUNNING);
  (*filter.mutable_label_selector())["app"] = "web";
  EXPECT_TRUE(MatchesTheContainer(filter));

  cri::ContainerFilter other = filter;
  other.set_id("c");
  EXPECT_FALSE(MatchesTheContainer(other));
  other = filter;
  other.set_pod_sandbox_id("p2");
  EXPECT_FALSE(MatchesTheContainer(other));
  other = filter;
  other.mutable_state()->set_state(cri::CONTAINER_EXITED);
  EXPECT_FALSE(MatchesTheContainer(other));
  other = filter;
  (*other.mutable_label_selector())["app"] = "db";
  EXPECT_FALSE(MatchesTheContainer(other));
  other = filter;
  (*other.mutable_label_selector())["missing"] = "";
  EXPECT_FALSE(MatchesTheContainer(other));
}

// CREATED is 0: the filter's presence, not its value, says whether it is set.
TEST(Filters, AStateOfZeroIsStillAFilter) {
  cri::ContainerFilter filter;
  filter.mutable_state()->set_state(cri::CONTAINER_CREATED);
  EXPECT_FALSE(MatchesTheContainer(filter));
  cri::PodSandboxFilter pods;
  pods.mutable_state()->set_state(cri::SANDBOX_READY);
  EXPECT_FALSE(Matches(pods, "p1", cri::SANDBOX_NOTREADY, LabelMap()));
}

TEST(Filters, StatsFiltersLookAtIdPodAndLabels) {
  cri::ContainerStatsFilter filter;
  filter.set_pod_sandbox_id("p1");
  EXPECT_TRUE(Matches(filter, "c1", "p1", LabelMap()));
  EXPECT_FALSE(Matches(filter, "c1", "p2", LabelMap()));
  cri::PodSandboxStatsFilter pods;
  (*pods.mutable_label_selector())["a"] = "b";
  EXPECT_FALSE(Matches(pods, "p1", LabelMap()));
}

TEST(ResolveId, FindsFullIdsAndUniqueBeginnings) {
  const std::map<std::string, int> ids = {{"abc1", 1}, {"abd2", 2}, {"f00d", 3}};
  EXPECT_EQ(*ResolveId("pod", "abc1", ids), "abc1");
  EXPECT_EQ(*ResolveId("pod", "f", ids), "f00d");
  EXPECT_EQ(*ResolveId("pod", "abd", ids), "abd2");
}

TEST(ResolveId, RefusesWhatIsEmptyUnknownOrAmbiguous) {
  const std::set<std::string> ids = {"abc1", "abd2"};
  EXPECT_EQ(ResolveId("pod", "", ids).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ResolveId("pod", "zz", ids).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ResolveId("pod", "abc11", ids).status().code(), absl::StatusCode::kNotFound);
  const absl::Status ambiguous = ResolveId("pod", "ab", ids).status();
  EXPECT_EQ(ambiguous.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ambiguous.message(), "pod id ab is ambiguous: it fits abc1 and abd2");
}

TEST(ResolveId, AFullIdWinsOverALongerOne) {
  const std::set<std::string> ids = {"ab", "abc"};
  EXPECT_EQ(*ResolveId("pod", "ab", ids), "ab");
}

TEST(ResolveId, WorksOnTypedIds) {
  const std::map<PodId, int> ids = {{PodId("abc"), 1}};
  EXPECT_EQ(*ResolveId("pod", "a", ids), "abc");
}

TEST(ResolveIdFilter, LeavesWhatNamesNothingAsItIs) {
  const std::set<std::string> ids = {"abc1", "abd2"};
  EXPECT_EQ(ResolveIdFilter("", ids), "");
  EXPECT_EQ(ResolveIdFilter("abc", ids), "abc1");
  EXPECT_EQ(ResolveIdFilter("ab", ids), "ab");
  EXPECT_EQ(ResolveIdFilter("x", ids), "x");
}

}  // namespace
}  // namespace berth
