#include "server/store/reconcile.h"

#include <gtest/gtest.h>

#include <utility>

namespace berth {
namespace {

using store::v1::ContainerRecord;
using store::v1::PodRecord;

const InstanceId kInstance("aaaa");

PodRecord Pod(const std::string& id, int64_t created, uint64_t revision) {
  PodRecord record;
  record.set_id(id);
  record.set_instance_id(kInstance.str());
  record.set_created_at_ns(created);
  record.set_revision(revision);
  return record;
}

ContainerRecord Container(const std::string& id, const std::string& pod, int64_t created) {
  ContainerRecord record;
  record.set_id(id);
  record.set_pod_id(pod);
  record.set_created_at_ns(created);
  return record;
}

template <typename Record>
RecordTable::Row Row(const Record& record) {
  return {record.created_at_ns(), record.id(), record.SerializeAsString()};
}

TEST(ReconcileTest, ARowWithoutACopyIsTrueAndIsCopied) {
  const ReconciledStore found = Reconcile({Row(Pod("p", 1, 1))}, {}, {}, kInstance, false);
  ASSERT_EQ(found.pods.records.size(), 1u);
  EXPECT_EQ(found.pods.put_copies.size(), 1u);
  EXPECT_TRUE(found.pods.put_rows.empty());
}

TEST(ReconcileTest, TheHigherRevisionWins) {
  ReconciledStore found =
      Reconcile({Row(Pod("p", 1, 4))}, {}, {.pods = {Pod("p", 1, 5)}}, kInstance, false);
  ASSERT_EQ(found.pods.records.size(), 1u);
  EXPECT_EQ(found.pods.records[0].revision(), 5u);
  EXPECT_EQ(found.pods.put_rows.size(), 1u);
  found = Reconcile({Row(Pod("p", 1, 6))}, {}, {.pods = {Pod("p", 1, 5)}}, kInstance, false);
  ASSERT_EQ(found.pods.records.size(), 1u);
  EXPECT_EQ(found.pods.records[0].revision(), 6u);
  EXPECT_TRUE(found.pods.put_rows.empty());
  EXPECT_EQ(found.pods.put_copies.size(), 1u);
}

TEST(ReconcileTest, ADamagedRowComesFromItsCopyOrIsLost) {
  const RecordTable::Row damaged{1, "p", "\xff\xff\xff"};
  ReconciledStore found = Reconcile({damaged}, {}, {.pods = {Pod("p", 1, 1)}}, kInstance, false);
  EXPECT_EQ(found.pods.records.size(), 1u);
  EXPECT_EQ(found.pods.from_copies, 1);
  found = Reconcile({damaged}, {}, {}, kInstance, false);
  EXPECT_TRUE(found.pods.records.empty());
  EXPECT_EQ(found.pods.lost, 1);
  EXPECT_EQ(found.pods.remove_rows, std::vector<int64_t>{1});
}

TEST(ReconcileTest, ACopyWithoutARowIsGarbageUnlessTheTablesAreNew) {
  ReconciledStore found = Reconcile({}, {}, {.pods = {Pod("p", 1, 1)}}, kInstance, false);
  EXPECT_TRUE(found.pods.records.empty());
  EXPECT_EQ(found.pods.remove_copies.size(), 1u);
  found = Reconcile({}, {}, {.pods = {Pod("p", 1, 1)}}, kInstance, true);
  EXPECT_EQ(found.pods.records.size(), 1u);
  EXPECT_EQ(found.pods.put_rows.size(), 1u);
}

TEST(ReconcileTest, CopiesOfAnotherInstanceAreLeftAlone) {
  PodRecord foreign = Pod("p", 1, 1);
  foreign.set_instance_id("bbbb");
  for (bool fresh : {false, true}) {
    const ReconciledStore found = Reconcile(
        {}, {}, {.pods = {foreign}, .containers = {Container("c", "p", 2)}}, kInstance, fresh);
    EXPECT_TRUE(found.pods.records.empty());
    EXPECT_TRUE(found.pods.remove_copies.empty());
    EXPECT_TRUE(found.containers.records.empty());
    EXPECT_TRUE(found.containers.remove_copies.empty());
  }
}

TEST(ReconcileTest, AContainerWithoutItsPodIsLost) {
  const ReconciledStore found = Reconcile({}, {Row(Container("c", "p", 2))}, {}, kInstance, false);
  EXPECT_TRUE(found.containers.records.empty());
  EXPECT_EQ(found.containers.lost, 1);
  EXPECT_EQ(found.containers.remove_rows, std::vector<int64_t>{2});
}

}  // namespace
}  // namespace berth
